"""The host of this project's networks, with the product's own code and settings.

    python -m benchmarks.peering.own THREADS SUBJECT...

A call is `Detector.inspect` of one image: from uint8 pixels to the decision. OpenVINO's default
precision is bfloat16 where the processor computes in it; the encoder always computes in float32.
"""

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.peering.subjects import (
    OPENVINO,
    OPENVINO_DEFAULT,
    PAPER,
    SHIPPED,
    SHIPPED_WITH_MEMORY,
    TORCH,
)
from benchmarks.peering.turns import Call, serve
from service.settings import tune_torch

if TYPE_CHECKING:
    from model.inference.detector import Detector

PATCHES = 2_000
CHECKPOINT = "solar"


def prepare(name: str) -> Mapping[str, Call]:
    """Return a call for each way to compute the network, with one image of noise."""
    import numpy as np  # noqa: PLC0415 - after `tune_torch`

    from benchmarks.loading.serving import ROOT  # noqa: PLC0415
    from benchmarks.memory import with_memory  # noqa: PLC0415
    from model.benchmark import of_paper  # noqa: PLC0415
    from model.checkpoints.checkpoint import CheckpointStore  # noqa: PLC0415
    from model.inference.detector import Detector  # noqa: PLC0415
    from model.inspection import ImageSize  # noqa: PLC0415
    from model.runtimes.torch import open_checkpoint  # noqa: PLC0415

    def detector_of(subject: str) -> Detector:
        if subject == PAPER:
            return of_paper("cpu").detector
        checkpoint = CheckpointStore(ROOT / "weights").load(CHECKPOINT)
        if subject == SHIPPED_WITH_MEMORY:
            return with_memory(checkpoint, PATCHES)
        assert subject == SHIPPED
        return open_checkpoint(checkpoint)

    detector = detector_of(name)
    for step in detector.preparation(1):
        step()
    height, width = detector.preprocessing.image_size
    image = np.random.default_rng(0).integers(0, 256, (1, 3, height, width), dtype=np.uint8)
    size = [ImageSize(height, width)]
    detectors = {TORCH: detector, **_with_openvino(detector)}
    category = detector.categories[:1]
    return {way: partial(each.inspect, image, category, size) for way, each in detectors.items()}


def _with_openvino(detector: "Detector") -> dict[str, "Detector"]:
    """Return the same detector around OpenVINO, in float32 and in its default precision."""
    import torch  # noqa: PLC0415
    from openvino import Core  # noqa: PLC0415

    from model.engines.openvino.engine import BFLOAT16, FLOAT32, OpenvinoEngine  # noqa: PLC0415
    from model.engines.torch.engine import TorchEngine  # noqa: PLC0415
    from model.inference.detector import Detector  # noqa: PLC0415

    capabilities = Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    default = BFLOAT16 if "BF16" in capabilities else FLOAT32
    parts = (detector.preprocessing, detector.scoring)
    assert isinstance(detector.engine, TorchEngine)
    network = detector.engine.network
    detectors = {}
    for way, precision in ((OPENVINO, FLOAT32), (OPENVINO_DEFAULT, default)):
        engine = OpenvinoEngine(network, *parts, torch.get_num_threads(), precision)
        detectors[way] = Detector(engine, *parts, detector.calibrations, detector.baselines)
    return detectors


def about() -> dict[str, Any]:
    """Return the threads, and the versions that the times depend on."""
    import torch  # noqa: PLC0415

    from model.benchmark import versions  # noqa: PLC0415

    return {"threads": torch.get_num_threads(), **versions()}


def _main(threads: int, names: list[str]) -> None:
    tune_torch()  # like `mambaad serve`, before torch is imported
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    serve(names, prepare, about)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
