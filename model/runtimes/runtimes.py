"""The libraries that compute networks: which one a version needs, and each imported only then.

A version is computed by torch from its own weights, or by onnxruntime from its ONNX file. A machine
needs only one of the two installed, and a process imports only what it uses.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from model.checkpoints.manifest import ONNX_FILE, Manifest
from model.checkpoints.store import StoredVersion
from model.errors import BackendUnavailable
from model.inference.detector import Detector
from model.runtimes.runtime import Runtime

AUTO, TORCH, ONNXRUNTIME = "auto", "torch", "onnxruntime"
_EXTRAS = {TORCH: "torch", ONNXRUNTIME: "edge"}


class Runtimes:
    """The libraries that compute on `device` in this process, by so many `threads` each.

    `backend` is "onnxruntime", or "auto", or one of the scan's for torch. `precision` and `graphs`
    say how torch computes on CUDA.
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
        self._known: dict[str, Runtime] = {}

    def prepare(self, manifests: Iterable[Manifest]) -> None:
        """Import what these versions need, so that loading them does not wait for it.

        Raises `BackendUnavailable` where the device cannot be used, or no version at all computed.
        """
        missing: list[BackendUnavailable] = []
        needed = set()
        for manifest in manifests:
            try:
                needed.add(library_for(manifest, self._backend))
            except BackendUnavailable as error:
                missing.append(error)
        if missing and not needed:
            raise missing[0]
        if not needed and self._device != "cpu":  # an empty store: is there such a device at all?
            torch = self._backend != ONNXRUNTIME and _installed(TORCH)
            needed.add(TORCH if torch else ONNXRUNTIME)
        for library in sorted(needed):
            self._runtime(library)

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version from its folder `<root>/<name>/<version>`, ready to inspect.

        Raises `CheckpointError`, `OutOfMemory`, and `BackendUnavailable` where the library that it
        needs is not installed.
        """
        return self._runtime(library_for(Manifest.read(directory), self._backend)).open(directory)

    @property
    def encoders(self) -> tuple[int, int]:
        """How many encoders networks share here, and their bytes."""
        found = [runtime.encoders for runtime in self._known.values()]
        return sum(count for count, _ in found), sum(size for _, size in found)

    @property
    def held_bytes(self) -> int:
        """What this process holds of a GPU's memory; nothing on a CPU."""
        return sum(runtime.held_bytes for runtime in self._known.values())

    def release(self) -> None:
        """Give back memory that freed networks have left in caches."""
        for runtime in self._known.values():
            runtime.release()

    def _runtime(self, library: str) -> Runtime:
        if library not in self._known:
            self._known[library] = self._start(library)
        return self._known[library]

    def _start(self, library: str) -> Runtime:
        if library == ONNXRUNTIME:
            from model.runtimes.onnx import OnnxRuntime  # noqa: PLC0415 - see the module's head

            return OnnxRuntime(self._device, self._threads)
        from model.runtimes.torch import TorchRuntime  # noqa: PLC0415 - see the module's head

        return TorchRuntime(
            self._device, self._backend, self._threads, self._precision, graphs=self._graphs
        )


def library_for(manifest: Manifest, backend: str = AUTO) -> str:
    """Return what computes a version: torch, unless its ONNX file is asked for or all there is.

    Raises `BackendUnavailable` where that is not installed.
    """
    library = TORCH
    if backend == ONNXRUNTIME:
        library = ONNXRUNTIME
    elif backend == AUTO and manifest.has_onnx:
        library = TORCH if manifest.has_network and _installed(TORCH) else ONNXRUNTIME
    if not _installed(library):
        raise BackendUnavailable(_advice(manifest, library))
    return library


def _advice(manifest: Manifest, library: str) -> str:
    place = f"{manifest.name}/{manifest.version}"
    said = (
        f"{place} is computed by {library}, which is not installed: "
        f"pip install 'mambaad-service[{_EXTRAS[library]}]'"
    )
    if library == TORCH and not manifest.has_onnx:
        said += f"; or, where torch is, make its {ONNX_FILE} by `mambaad export --serve`"
    return said


def _installed(library: str) -> bool:
    return find_spec(library) is not None
