"""Stored versions as onnxruntime computes them."""

from pathlib import Path
from weakref import WeakSet

from model.checkpoints.store import StoredVersion, read_onnx
from model.engines.onnx.engine import OnnxEngine
from model.inference.detector import Detector
from model.runtimes.runtime import detector_of


class OnnxRuntime:
    """onnxruntime on one device, by so many threads."""

    def __init__(self, device: str, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._engines: WeakSet[OnnxEngine] = WeakSet()

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version's ONNX file, its hash verified before it is parsed."""
        version = StoredVersion.read(directory)
        data = read_onnx(directory, version.manifest)
        size = version.preprocessing.image_size
        engine = OnnxEngine(data, size, self._device, self._threads)
        self._engines.add(engine)
        return version, detector_of(version, engine)

    @property
    def encoders(self) -> tuple[int, int]:
        """Return no encoders: each ONNX file has its own inside."""
        return 0, 0

    @property
    def held_bytes(self) -> int:
        """What its networks weigh: onnxruntime does not tell what else it holds of a GPU."""
        return sum(engine.nbytes for engine in self._engines)

    def release(self) -> None:
        """Give back nothing: a session takes its memory with it."""
