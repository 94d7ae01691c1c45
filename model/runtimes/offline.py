"""Opens a version for an offline command, with the library and the precision that it names.

choice = Choice("openvino", "bfloat16")
check_engine(manifest, choice)
version, detector = open_version(store.find("bottle"), choice)
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoints.agreement import PRECISIONS, holds
from model.checkpoints.manifest import Manifest
from model.checkpoints.store import StoredVersion
from model.errors import BackendUnavailable, CheckpointError
from model.inference.detector import Detector
from model.runtimes.runtimes import ONNXRUNTIME, OPENVINO, TORCH, library_for

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint

ENGINES = (TORCH, ONNXRUNTIME, OPENVINO)
FLOAT32 = PRECISIONS[0]


@dataclass(frozen=True, slots=True)
class Choice:
    """What computes: one of `ENGINES`, its precision, and the device."""

    engine: str = TORCH
    precision: str = FLOAT32
    device: str = "cpu"


def check_engine(manifest: Manifest, choice: Choice) -> None:
    """Raise an error if a version cannot be computed so; imports no large library.

    Raises `BackendUnavailable` for a library that is not installed or does not have the precision
    or the device, and `CheckpointError` for a precision in which the version's scores are not known
    to agree.
    """
    engine, precision = choice.engine, choice.precision
    library_for(manifest, engine)
    if engine == OPENVINO and choice.device != "cpu":
        raise BackendUnavailable(f"cannot use {choice.device}: OpenVINO computes on a CPU here")
    if precision == FLOAT32:
        return
    if engine != OPENVINO:
        raise BackendUnavailable(
            f"{engine} computes in float32 here: {precision} needs --engine {OPENVINO}"
        )
    if not holds(manifest.agreements, precision, manifest.categories):
        is_measured = precision in manifest.agreements
        reason = "its scores change too much" if is_measured else "no agreement was measured"
        raise CheckpointError(
            f"{manifest.name}/{manifest.version} cannot be computed in {precision}: {reason}. Use "
            f"{FLOAT32}, or measure it: mambaad calibrate {manifest.name} DATA --keep-thresholds"
        )


def open_version(directory: Path, choice: Choice) -> tuple[StoredVersion, Detector]:
    """Load a version from its folder; `check_engine` has checked that it can be computed so.

    Raises `BackendUnavailable` if this processor cannot.
    """
    if choice.engine == ONNXRUNTIME:
        from model.runtimes.onnx import OnnxRuntime  # noqa: PLC0415 - onnxruntime

        return OnnxRuntime(choice.device, _processors()).open(directory)
    if choice.engine == TORCH:
        from model.checkpoints.checkpoint import Checkpoint  # noqa: PLC0415 - torch

        checkpoint = Checkpoint.load(directory)
        return checkpoint, detector_of_loaded(checkpoint, directory, choice)
    import torch  # noqa: PLC0415 - torch

    from model.runtimes.openvino import OpenvinoRuntime  # noqa: PLC0415 - openvino

    threads = torch.get_num_threads()
    runtime = OpenvinoRuntime(choice.device, threads, choice.precision, or_torch=False)
    version, detector = runtime.open(directory)
    if detector.engine.precision != choice.precision:
        raise BackendUnavailable(
            f"OpenVINO cannot compute in {choice.precision} on this processor; use {FLOAT32}"
        )
    return version, detector


def detector_of_loaded(checkpoint: "Checkpoint", directory: Path, choice: Choice) -> Detector:
    """Like `open_version`, for a checkpoint that is loaded already; torch takes it over."""
    if choice.engine != TORCH:
        return open_version(directory, choice)[1]
    from model.runtimes.torch import open_checkpoint  # noqa: PLC0415 - torch

    return open_checkpoint(checkpoint, choice.device)


def _processors() -> int:
    """Return the number of processors that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(usable(0)) if usable else os.cpu_count() or 1
