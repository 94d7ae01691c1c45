"""The libraries that compute networks, each imported only when a version needs it.

torch computes a version from its weights, onnxruntime from its ONNX file. A machine needs only one
of the two installed. OpenVINO computes from the weights too, with torch's help when it loads them.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from model.checkpoints.manifest import ONNX_FILE, Manifest
from model.checkpoints.store import StoredVersion
from model.errors import BackendUnavailable
from model.inference.detector import Detector
from model.runtimes.runtime import Runtime

AUTO, TORCH, ONNXRUNTIME, OPENVINO = "auto", "torch", "onnxruntime", "openvino"
_EXTRAS = {TORCH: "torch", ONNXRUNTIME: "edge", OPENVINO: "openvino"}


class Runtimes:
    """The libraries that compute on `device` in this process, each with `threads` threads.

    `backend` is "auto", "onnxruntime", "openvino", or one of `model.scan.BACKENDS` for torch.
    `precision` configures torch on CUDA and OpenVINO, `graphs` torch on CUDA.
    """

    def __init__(
        self,
        device: str = "cpu",
        backend: str = AUTO,
        threads: int = 1,
        precision: str = AUTO,
        *,
        graphs: bool = True,
    ) -> None:
        self._precision, self._graphs = precision, graphs
        self._device = device
        self._backend = backend
        self._threads = threads
        self._runtimes: dict[str, Runtime] = {}

    def prepare(self, manifests: Iterable[Manifest]) -> None:
        """Import the libraries that these versions need, so that loading is not delayed.

        Raises `BackendUnavailable` if the device cannot be used, or none of the versions.
        """
        missing: list[BackendUnavailable] = []
        needed = set()
        for manifest in manifests:
            try:
                needed.add(self._library(manifest))
            except BackendUnavailable as error:
                missing.append(error)
        if missing and not needed:
            raise missing[0]
        if not needed and self._device != "cpu":  # an empty store: check the device
            torch = self._backend != ONNXRUNTIME and _installed(TORCH)
            needed.add(TORCH if torch else ONNXRUNTIME)
        for library in sorted(needed):
            self._runtime(library)

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version from its folder `<root>/<name>/<version>`, ready to inspect.

        Raises `CheckpointError`, `OutOfMemory`, and `BackendUnavailable` if the library that it
        needs is not installed.
        """
        return self._runtime(self._library(Manifest.read(directory))).open(directory)

    @property
    def encoders(self) -> tuple[int, int]:
        """The number of shared encoders, and their bytes."""
        encoders = [runtime.encoders for runtime in self._runtimes.values()]
        return sum(count for count, _ in encoders), sum(size for _, size in encoders)

    @property
    def held_bytes(self) -> int:
        """GPU memory that this process holds, in bytes; 0 on a CPU."""
        return sum(runtime.held_bytes for runtime in self._runtimes.values())

    def release(self) -> None:
        """Free memory that deleted networks left in caches."""
        for runtime in self._runtimes.values():
            runtime.release()

    @property
    def renews_threads(self) -> bool:
        """Whether `renew_threads` replaces every thread that computes."""
        return all(runtime.renews_threads for runtime in self._runtimes.values())

    def renew_threads(self) -> None:
        """Let the calling thread compute from now on, with new helpers of its own priority."""
        for runtime in self._runtimes.values():
            runtime.renew_threads()

    def _library(self, manifest: Manifest) -> str:
        """Return the library for a version, OpenVINO if it may be faster than torch."""
        library = library_for(manifest, self._backend)
        on_cpu = self._backend == AUTO and self._device == "cpu"
        may_choose = on_cpu and library == TORCH and manifest.agreements
        return OPENVINO if may_choose and _installed(OPENVINO) else library

    def _runtime(self, library: str) -> Runtime:
        if library not in self._runtimes:
            self._runtimes[library] = self._start(library)
        return self._runtimes[library]

    def _start(self, library: str) -> Runtime:
        if library == ONNXRUNTIME:
            from model.runtimes.onnx import OnnxRuntime  # noqa: PLC0415 - see the module's head

            return OnnxRuntime(self._device, self._threads)
        if library == OPENVINO:
            from model.runtimes.openvino import OpenvinoRuntime  # noqa: PLC0415 - see the module's head

            return OpenvinoRuntime(
                self._device, self._threads, self._precision, or_torch=self._backend == AUTO
            )
        from model.runtimes.torch import TorchRuntime  # noqa: PLC0415 - see the module's head

        return TorchRuntime(
            self._device, self._backend, self._threads, self._precision, graphs=self._graphs
        )


def library_for(manifest: Manifest, backend: str = AUTO) -> str:
    """Return the library for a version.

    With "auto", torch if it is installed and can compute the version, else onnxruntime. Raises
    `BackendUnavailable` if the library is not installed.
    """
    library = TORCH
    if backend in (ONNXRUNTIME, OPENVINO):
        library = backend
    elif backend == AUTO and manifest.has_onnx:
        library = TORCH if manifest.has_network and _installed(TORCH) else ONNXRUNTIME
    if not _installed(library) or (library == OPENVINO and not _installed(TORCH)):
        raise BackendUnavailable(_advice(manifest, library))
    return library


def _advice(manifest: Manifest, library: str) -> str:
    place = f"{manifest.name}/{manifest.version}"
    advice = (
        f"{place} needs {library}, which is not installed: "
        f"pip install 'mambaad-service[{_EXTRAS[library]}]'"
    )
    if library == TORCH and not manifest.has_onnx:
        advice += (
            f"; or create its {ONNX_FILE} with `mambaad export --serve` where torch is installed"
        )
    return advice


def _installed(library: str) -> bool:
    return find_spec(library) is not None
