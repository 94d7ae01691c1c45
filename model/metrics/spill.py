"""The values of many anomaly maps, sorted, in temporary files instead of memory.

Each float32 is stored as its key, an unsigned integer in the same order, so that counts are exact,
ties included. The keys of each map are sorted, marked and unmarked pixels apart. Memory holds where
each bin starts, so that one range of values can be read back from all maps.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt32

from model.errors import ModelError
from model.metrics.ranking import check_finite
from model.metrics.regions import label_regions

BIN_KEYS = 2**22
"""Keys in a bin: half the floats between two powers of two."""
BINS = 2**32 // BIN_KEYS
_CHUNK = 2**22
_EDGES = (np.arange(BINS, dtype=np.uint64) * BIN_KEYS).astype(np.uint32)
_SIGN = np.uint32(1 << 31)


def to_keys(values: Float32[np.ndarray, "*n"]) -> UInt32[np.ndarray, "*n"]:
    """Return integers in the order of the values; 0 and -0 have the same key."""
    bits: np.ndarray = (values + np.float32(0)).view(np.uint32)
    flips = (bits.view(np.int32) >> 31).view(np.uint32) | _SIGN
    keys: np.ndarray = bits ^ flips
    return keys


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Sorted keys of one map: their start in the file, and the start of each bin among them."""

    start: int
    bins: Int[np.ndarray, " bins"]

    @property
    def count(self) -> int:
        """The number of keys."""
        return int(self.bins[-1])

    def within(self, low: int, high: int) -> tuple[int, int]:
        """Return the place in the file and the count of the keys in bins `low` to `high` - 1."""
        first, last = int(self.bins[low]), int(self.bins[high])
        return self.start + first, last - first


class Column:
    """Keys of many maps in one temporary file and, if `numbered`, their regions in another."""

    def __init__(self, folder: Path | None, numbered: bool) -> None:
        self.segments: list[Segment] = []
        self._keys = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the column
        self._numbers = tempfile.TemporaryFile(dir=folder) if numbered else None  # noqa: SIM115
        self._length = 0

    def append(
        self, keys: UInt32[np.ndarray, " n"], numbers: Int[np.ndarray, " n"] | None = None
    ) -> None:
        """Write one map's ascending keys and the number of each key's region."""
        bins = np.append(np.searchsorted(keys, _EDGES), len(keys)).astype(np.int32)
        self._keys.write(keys.tobytes())
        if self._numbers is not None and numbers is not None:
            self._numbers.write(numbers.astype(np.int32).tobytes())
        self.segments.append(Segment(self._length, bins))
        self._length += len(keys)

    def counts(self, images: Sequence[int]) -> Int[np.ndarray, " bins"]:
        """Count the keys of these images in each bin."""
        total = np.zeros(BINS, dtype=np.int64)
        for image in images:
            total += np.diff(self.segments[image].bins)
        return total

    def read(
        self, images: Sequence[int], low: int, high: int
    ) -> Iterator[UInt32[np.ndarray, " _"]]:
        """Yield the keys of these images in bins `low` to `high` - 1, some millions at a time."""
        for keys, _ in self._chunks(images, low, high):
            yield keys

    def read_numbered(
        self, images: Sequence[int], low: int, high: int
    ) -> Iterator[tuple[UInt32[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
        """Yield keys like `read`, each with its region's number."""
        yield from self._chunks(images, low, high)

    def segment(self, image: int) -> UInt32[np.ndarray, " _"]:
        """Return all keys of one image, ascending."""
        return next(self.read([image], 0, BINS), np.zeros(0, np.uint32))

    def numbered_segment(
        self, image: int
    ) -> tuple[UInt32[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return all keys of one image, ascending, each with its region's number."""
        none = (np.zeros(0, np.uint32), np.zeros(0, np.int32))
        return next(self.read_numbered([image], 0, BINS), none)

    def close(self) -> None:
        """Delete the temporary files."""
        self._keys.close()
        if self._numbers is not None:
            self._numbers.close()

    def _chunks(
        self, images: Sequence[int], low: int, high: int
    ) -> Iterator[tuple[UInt32[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
        keys: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        pending = 0
        for image in images:
            place, count = self.segments[image].within(low, high)
            if not count:
                continue
            self._keys.seek(4 * place)
            keys.append(np.fromfile(self._keys, np.uint32, count))
            if self._numbers is not None:
                self._numbers.seek(4 * place)
                numbers.append(np.fromfile(self._numbers, np.int32, count))
            pending += count
            if pending >= _CHUNK:
                yield _joined(keys, np.uint32), _joined(numbers, np.int32)
                keys, numbers, pending = [], [], 0
        if pending:
            yield _joined(keys, np.uint32), _joined(numbers, np.int32)


class MapSpill:
    """The maps of one category, their marked and unmarked pixels apart.

    Uses 4 bytes a pixel on disk, in `folder` (default: the system's temporary folder), and a few
    kilobytes of memory a map. A map without a marked pixel is a good part's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.unmarked = Column(folder, numbered=False)
        self.marked = Column(folder, numbered=True)
        self.region_images: list[int] = []
        self.region_sizes: list[int] = []

    def __len__(self) -> int:
        return len(self.unmarked.segments)

    def __enter__(self) -> "MapSpill":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary files."""
        self.unmarked.close()
        self.marked.close()

    def add(self, values: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        """Add one map. Raises `NonFiniteOutput` for NaN, `ModelError` if it cannot be written."""
        check_finite(values)
        try:
            self._add(to_keys(values), mask)
        except OSError as error:
            place = self.folder or tempfile.gettempdir()
            raise ModelError(
                f"cannot write anomaly maps to {place}: {error}; set TMPDIR to a folder with "
                "4 bytes free for each pixel"
            ) from error

    def is_good(self, image: int) -> bool:
        """Return whether no pixel of this map is marked."""
        return self.marked.segments[image].count == 0

    def _add(self, keys: UInt32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        if not mask.any():
            self.unmarked.append(np.sort(keys, axis=None))
            self.marked.append(np.zeros(0, np.uint32), np.zeros(0, np.int32))
            return
        labels, regions = label_regions(mask)
        inside, numbers = keys[mask], labels[mask] - 1
        order = np.argsort(inside)
        image, first = len(self), len(self.region_images)
        self.unmarked.append(np.sort(keys[~mask]))
        self.marked.append(inside[order], numbers[order] + first)
        self.region_images += [image] * regions
        self.region_sizes += np.bincount(numbers, minlength=regions).tolist()


def _joined(parts: list[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
