"""Opens stored versions with onnxruntime."""

from pathlib import Path
from weakref import WeakSet

from model.checkpoints.store import StoredVersion, read_onnx
from model.engines.onnx.engine import OnnxEngine
from model.errors import CheckpointError
from model.inference.detector import Detector
from model.runtimes.runtime import detector_of


class OnnxRuntime:
    """onnxruntime on one device, with `threads` threads."""

    def __init__(self, device: str, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._engines: WeakSet[OnnxEngine] = WeakSet()

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version's ONNX file, verifying its hash before parsing it."""
        version = StoredVersion.read(directory)
        data = read_onnx(directory, version.manifest)
        size = version.preprocessing.image_size
        engine = OnnxEngine(data, size, self._device, self._threads)
        if engine.has_patches != (version.scoring.memory > 0):
            raise CheckpointError(
                f"{version.name}/{version.version} and its ONNX file do not fit together: its "
                f"scoring has {'a' if version.scoring.memory else 'no'} memory; export it again "
                "with `mambaad export --serve`"
            )
        self._engines.add(engine)
        return version, detector_of(version, engine)

    @property
    def encoders(self) -> tuple[int, int]:
        """No shared encoders: each ONNX file contains its encoder."""
        return 0, 0

    @property
    def held_bytes(self) -> int:
        """The size of its networks; onnxruntime does not report its other GPU memory."""
        return sum(engine.nbytes for engine in self._engines)

    def release(self) -> None:
        """Do nothing: a session frees its memory when it ends."""

    @property
    def renews_threads(self) -> bool:
        """Only without helpers: a session keeps the threads that it has started."""
        return self._threads == 1

    def renew_threads(self) -> None:
        """Do nothing."""
