"""Writes, reads and deletes the files; all calls block and are thread-safe."""

import errno
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from model.durable import sync_folder, write_durably
from service.archive.media.folder import (
    IMAGE_SUFFIXES,
    MAP_SUFFIX,
    MediaFile,
    Stray,
    files_in,
    path_in,
    suffix_of,
)
from service.archive.media.ledger import MediaLedger
from service.archive.records import MediaState
from service.telemetry.metrics.media import MediaMetrics

logger = logging.getLogger("service.media")

_LOG_EVERY_S = 60.0
_COUNTED_AT_ONCE = 200
_BREATH_S = 0.002


class MediaError(Exception):
    """An image or raw map cannot be read."""


class MediaGone(MediaError):
    """The file is not there."""


class MediaAltered(MediaError):
    """The file's content is not what was put, or cannot be read."""


class Media:
    """The files of one node's images and raw maps.

    `folder` is made with the first file. With less free space than `min_free_bytes`, nothing is
    written.
    """

    def __init__(
        self, folder: Path, min_free_bytes: int, metrics: MediaMetrics | None = None
    ) -> None:
        self.folder = folder
        self._min_free_bytes = min_free_bytes
        self._metrics = metrics
        self._durable_folders: set[Path] = set()
        self._ledger = MediaLedger()
        self._next_log_s = 0.0

    def put(self, content: bytes, day: date, suffix: str | None = None) -> tuple[str, MediaState]:
        """Write a file unless it is there; return its SHA-256, and KEPT once it is durable.

        Without `suffix` the content decides it. Returns NO_SPACE, and writes nothing, below the
        floor of free space or if the disk refuses. Until `release`, for 15 minutes at most, nobody
        deletes the file: its row may not be committed yet.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        suffix = suffix or suffix_of(content)
        path = self.path(sha256, day, suffix)
        self._ledger.pin(sha256, day)
        try:
            with self._ledger.putting(path):
                if _is_same(path, content):
                    os.utime(path)  # the sweep deletes only old files without a row
                    self._make_folder(path.parent)
                    sync_folder(path.parent)
                elif self.free_bytes() - len(content) < self._min_free_bytes:
                    return sha256, self._refuse("floor", sha256, day)
                else:
                    self._write(path, content)
        except OSError as error:
            self._log(path, error)
            return sha256, self._refuse("error", sha256, day)
        return sha256, MediaState.KEPT

    def release(self, sha256: str, day: date) -> None:
        """Say that the row of a file that was put is committed, or never will be."""
        self._ledger.release(sha256, day)

    def path(self, sha256: str, day: date, suffix: str) -> Path:
        """Return the path of a file, whether it exists or not."""
        return path_in(self.folder, sha256, day, suffix)

    def find(self, sha256: str, day: date, suffix: str | None = None) -> Path:
        """Return the path of a file; without `suffix`, of the image. Raises `MediaGone`."""
        for name in (suffix,) if suffix else IMAGE_SUFFIXES:
            path = self.path(sha256, day, name)
            if os.path.lexists(path):
                return path
        raise MediaGone(f"{self.path(sha256, day, suffix or '*')} is not there")

    def read(self, sha256: str, day: date, suffix: str | None = None) -> bytes:
        """Return the content of a file; without `suffix`, of the image.

        Raises `MediaGone` or `MediaAltered`.
        """
        path = self.find(sha256, day, suffix)
        try:
            content = _read_plain(path)
        except FileNotFoundError as error:
            raise MediaGone(f"{path} is not there") from error
        except OSError as error:
            raise MediaAltered(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise MediaAltered(f"{path} was altered: its SHA-256 is not {sha256}")
        return content

    def delete(
        self,
        sha256: str,
        day: date,
        suffix: str | None = None,
        *,
        is_kept: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """Delete a file; return its bytes, None if it is not there or stays. Raises `OSError`.

        It stays if its row may not be committed yet, or if `is_kept`, which is asked while nobody
        puts a file.
        """
        with self._ledger.deleting(sha256, day) as is_allowed:
            if not is_allowed or is_kept():
                return None
            try:
                path = self.find(sha256, day, suffix)
                _check_no_link(path.parent)
                _check_no_link(path.parent.parent)
                nbytes = path.lstat().st_size
                path.unlink()
            except (MediaGone, FileNotFoundError):
                return None
            self._ledger.subtract(nbytes)
        self._export_bytes()
        return nbytes

    def files(self) -> Iterator[MediaFile | Stray]:
        """Yield every file, and every entry of the folder that is not the archive's."""
        return files_in(self.folder)

    def count(self) -> int:
        """Return the bytes of all files after looking at each; removes those of unfinished puts.

        Only the process that puts files may call it. It leaves time for other threads.
        """
        with self._ledger.counting() as count:
            for number, file in enumerate(files_in(self.folder), 1):
                if isinstance(file, MediaFile):
                    count.see(file.path, file.nbytes)
                elif (target := file.staged_for) and not self._ledger.is_being_put(target):
                    with suppress(OSError):
                        file.path.unlink()
                if number % _COUNTED_AT_ONCE == 0:
                    time.sleep(_BREATH_S)
        self._export_bytes()
        return self._ledger.nbytes

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all files: exact after `count`, until then of those put since the start."""
        return self._ledger.nbytes

    def free_bytes(self) -> int:
        """Return the free space of the media's disk. Raises `OSError`."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if self._metrics:
            self._metrics.media_free_bytes.set(free)
        return free

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file with two syncs: of the file, and of its folder. Raises `OSError`."""
        altered = path.lstat().st_size if os.path.lexists(path) else 0
        with self._ledger.adding(path, len(content) - altered):
            self._make_folder(path.parent)
            try:
                write_durably(path, content)
            except FileNotFoundError:  # somebody removed the folder after this process made it
                self._durable_folders.clear()
                self._make_folder(path.parent)
                write_durably(path, content)
            except OSError:
                with suppress(OSError):
                    path.unlink()
                raise
        if self._metrics:
            self._metrics.media_written.labels("map" if _is_map(path) else "image").inc()
        self._export_bytes()

    def _make_folder(self, folder: Path) -> None:
        """Make a file's folder, and sync the folders above it once. Raises `OSError`.

        A folder that exists may be the work of another thread that has not synced it yet.
        """
        if folder in self._durable_folders:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _check_no_link(folder)
        _check_no_link(folder.parent)
        for above in (folder.parent, self.folder, self.folder.parent):
            if above not in self._durable_folders:
                sync_folder(above)
        self._durable_folders |= {folder, self.folder.parent}

    def _refuse(self, reason: str, sha256: str, day: date) -> MediaState:
        self._ledger.release(sha256, day)
        if self._metrics:
            self._metrics.media_not_written.labels(reason).inc()
        return MediaState.NO_SPACE

    def _log(self, path: Path, error: OSError) -> None:
        """Log an error, but not more than once a minute."""
        if time.monotonic() >= self._next_log_s:
            self._next_log_s = time.monotonic() + _LOG_EVERY_S
            logger.error(
                "an image or raw map cannot be written: %s: %s", path, error.strerror or error
            )

    def _export_bytes(self) -> None:
        if self._metrics:
            self._metrics.media_bytes.set(self._ledger.nbytes)


def _is_map(path: Path) -> bool:
    return path.name.endswith(f".{MAP_SUFFIX}")


def _is_same(path: Path, content: bytes) -> bool:
    """Return whether a file has a content; an altered file is written again."""
    try:
        return path.lstat().st_size == len(content) and _read_plain(path) == content
    except OSError:
        return False


def _read_plain(path: Path) -> bytes:
    """Return a file's content; raises `OSError` for a link, pipe or device, and never waits."""
    never = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_RDONLY | never)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{path} is no plain file")
        return file.read()


def _check_no_link(folder: Path) -> None:
    """Raise `OSError` if a folder is a link: it would lead a write or deletion elsewhere."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder} is a link: move it away")
