"""Memory that the service and one worker share, for images and maps.

A block has no name in the file system, so the system frees it when both processes have ended,
however they end.
"""

import math
import os
import tempfile
from collections.abc import Sequence
from mmap import mmap
from multiprocessing import reduction
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32


class SharedBlock:
    """A block that the service can grow, and that a worker receives when it is spawned.

    block.reserve(12)
    block.array((3, 4), np.uint8)[:] = 1
    """

    def __init__(self) -> None:
        self._file = _anonymous_file()
        self._map: mmap | None = None
        self._size = 0

    def reserve(self, nbytes: int) -> None:
        """Grow the block to at least `nbytes`; only in the service. Raises `OSError`."""
        if nbytes > self._size:
            os.ftruncate(self._file, nbytes)
            self._size = nbytes

    def array(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, offset: int = 0
    ) -> npt.NDArray[Any]:
        """Return a view of a part of the block."""
        count = math.prod(shape)
        kind = np.dtype(dtype)
        if not count:
            return np.empty(shape, kind)
        mapped = self._mapped(offset + count * kind.itemsize)
        return np.frombuffer(mapped, kind, count, offset).reshape(shape)

    def maps(
        self, shapes: Sequence[tuple[int, int]], offsets: Sequence[int]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Return views of maps in the block."""
        places = zip(shapes, offsets[: len(shapes)], strict=True)
        return [self.array(shape, np.float32, offset) for shape, offset in places]

    def close(self) -> None:
        """Close the block; its memory is freed when no array refers to it any more."""
        self._map = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _mapped(self, nbytes: int) -> mmap:
        """Map the block again if it has grown; existing arrays keep the earlier mapping alive."""
        if self._map is None or len(self._map) < nbytes:
            self._map = mmap(self._file, os.fstat(self._file).st_size)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        """Duplicate the file descriptor for a process that is being spawned."""
        return {"file": reduction.DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._file = state["file"].detach()
        self._map = None
        self._size = 0


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mambaad-block")
    with tempfile.TemporaryFile() as file:  # unlinked from the start
        return os.dup(file.fileno())
