"""Memory that the service and one worker share, for images and maps.

A block has no name in the file system: it is gone when the last of the two processes is, however
they end, and there is nothing to clean up.
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
    """A block that its owner grows, and that a worker receives when it is spawned."""

    def __init__(self) -> None:
        self._file = _anonymous_file()
        self._map: mmap | None = None
        self._size = 0

    def reserve(self, nbytes: int) -> None:
        """Make the block that large; only its owner may. Raises `OSError` where it cannot be."""
        if nbytes > self._size:
            os.ftruncate(self._file, nbytes)
            self._size = nbytes

    def array(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, offset: int = 0
    ) -> npt.NDArray[Any]:
        """Return a part of the block, not a copy of it."""
        count = math.prod(shape)
        kind = np.dtype(dtype)
        if not count:
            return np.empty(shape, kind)
        mapped = self._mapped(offset + count * kind.itemsize)
        return np.frombuffer(mapped, kind, count, offset).reshape(shape)

    def maps(
        self, shapes: Sequence[tuple[int, int]], offsets: Sequence[int]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Return maps that lie in the block one after the other, not copies of them."""
        places = zip(shapes, offsets[: len(shapes)], strict=True)
        return [self.array(shape, np.float32, offset) for shape, offset in places]

    def close(self) -> None:
        """Let go of the memory, as soon as no array shows it any more."""
        self._map = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _mapped(self, nbytes: int) -> mmap:
        """Map the block anew where it has grown; older arrays keep the older mapping alive."""
        if self._map is None or len(self._map) < nbytes:
            self._map = mmap(self._file, os.fstat(self._file).st_size)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        """Hand the file itself to a process that is being spawned."""
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
