"""Which files are being put, which nobody may delete yet, and the bytes of all of them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

_PIN_S = 900.0
"""Longer than an inspection may take from its first file to its row, batches included."""


class MediaLedger:
    """Keeps the threads apart that put, delete and count media files."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counting = threading.Lock()
        self._being_put: set[Path] = set()
        self._being_added: dict[Path, int] = {}
        self._added_while_counting: dict[Path, int] | None = None
        self._pins: dict[tuple[str, date], tuple[int, float]] = {}
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all files: exact after a count, until then of those added since the start."""
        return self._nbytes

    def pin(self, sha256: str, day: date) -> None:
        """Keep a file from being deleted until `release`, or for 15 minutes."""
        with self._changed:
            now_s = time.monotonic()
            pins, _ = self._pins.pop((sha256, day), (0, 0.0))
            self._pins[sha256, day] = (pins + 1, now_s + _PIN_S)
            while self._pins[oldest := next(iter(self._pins))][1] <= now_s:
                del self._pins[oldest]

    def release(self, sha256: str, day: date) -> None:
        """Take back one `pin`."""
        with self._changed:
            pins, until_s = self._pins.get((sha256, day), (0, 0.0))
            if pins > 1:
                self._pins[sha256, day] = (pins - 1, until_s)
            else:
                self._pins.pop((sha256, day), None)

    @contextmanager
    def deleting(self, sha256: str, day: date) -> Iterator[bool]:
        """Yield whether a file may be deleted; until the block ends nobody pins or counts it."""
        with self._counting, self._changed:
            _, until_s = self._pins.get((sha256, day), (0, 0.0))
            yield until_s <= time.monotonic()

    def subtract(self, nbytes: int) -> None:
        """Take the bytes of a deleted file out; call it while `deleting`."""
        self._nbytes -= nbytes

    @contextmanager
    def putting(self, path: Path) -> Iterator[None]:
        """Have one thread at a time put a file."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._being_put)
            self._being_put.add(path)
        try:
            yield
        finally:
            with self._changed:
                self._being_put.remove(path)
                self._changed.notify_all()

    def is_being_put(self, path: Path) -> bool:
        """Return whether a thread is putting a file."""
        with self._changed:
            return path in self._being_put

    @contextmanager
    def adding(self, path: Path, nbytes: int) -> Iterator[None]:
        """Count a new file's bytes, unless the block raises."""
        with self._changed:
            self._nbytes += nbytes
            self._being_added[path] = nbytes
            if self._added_while_counting is not None:
                self._added_while_counting[path] = nbytes
        try:
            yield
        except BaseException:
            with self._changed:
                self._nbytes -= nbytes
                if self._added_while_counting is not None:
                    self._added_while_counting.pop(path, None)
            raise
        finally:
            with self._changed:
                del self._being_added[path]

    @contextmanager
    def counting(self) -> Iterator["Count"]:
        """Add up the files that are seen in the block, and those that are added meanwhile."""
        with self._counting:
            with self._changed:
                added = self._added_while_counting = dict(self._being_added)
            try:
                yield (count := Count(added))
                with self._changed:
                    self._nbytes = count.nbytes + sum(added.values())
            finally:
                with self._changed:
                    self._added_while_counting = None


class Count:
    """The bytes of the files that a count has seen; added files are left out."""

    def __init__(self, added: dict[Path, int]) -> None:
        self._added = added
        self.nbytes = 0

    def see(self, path: Path, nbytes: int) -> None:
        """Add a file."""
        if path not in self._added:
            self.nbytes += nbytes
