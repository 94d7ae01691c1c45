"""Keeps every triggered part on disk until the service has archived it.

    spool = Spool.open(Path("/var/lib/mambaad-station"), SpoolLimits())
    spool.add(part)                       # durable: TriggerAck may come on
    spool.add_image(part.job, "top", content)
    spool.tell(part.job, outcome)         # durable: the PLC may see a decision
    spool.archived(part.job, part.inspections[0].inspection_id)

SQLite with one connection that writes through to the disk, and a file for each image. The lock of
the connection refuses a second station on the same folder. Methods that write block: call those of
the database from one thread; images may be written by others.
"""

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from model.durable import write_durably
from service.station.machine.faults import ErrorCode
from service.station.machine.verdicts import Outcome
from service.station.parts import SpooledPart, inspections_text, part_of, row_of, told_text
from service.station.spool_database import COLUMNS, DATABASE, INSERT, connect, identity_of

_IMAGES = "images"
_NONE = (0, 0)
"""The identity of no file."""


class SpoolFailure(Exception):
    """The spool did not write; `code` is the error for the PLC."""

    code = ErrorCode.SPOOL_UNWRITABLE


class SpoolIsFull(SpoolFailure):
    """The spool has reached a limit, or the disk its floor of free space."""

    code = ErrorCode.SPOOL_FULL


class SpoolUnusable(Exception):
    """The spool cannot be opened: its folder, its file, or another station."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Bounds of the spool; `min_free_bytes` of the disk stay free."""

    max_parts: int = 10_000
    max_bytes: int = 4 * 2**30
    min_free_bytes: int = 2**28


class Spool:
    """An open spool; `open` makes one."""

    def __init__(self, folder: Path, limits: SpoolLimits, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._images = folder / _IMAGES
        self._identity = identity_of(folder)
        self._limits = limits
        self._connection = connection
        self._parts = {part.job: part for part in self._read()}
        self._image_bytes = self._sweep()
        self._counting = threading.Lock()

    @classmethod
    def open(cls, folder: Path, limits: SpoolLimits) -> Self:
        """Open the spool in a folder, or make it. Raises `SpoolUnusable`."""
        try:
            (folder / _IMAGES).mkdir(parents=True, exist_ok=True)
            connection = connect(folder / DATABASE)
            try:
                return cls(folder, limits, connection)
            except BaseException:
                connection.close()
                raise
        except (OSError, sqlite3.Error, ValueError) as error:
            raise SpoolUnusable(
                f"the spool in {folder} cannot be opened: {error}; {_advice(error)}"
            ) from error

    @property
    def parts(self) -> list[SpooledPart]:
        """All parts, in the order of their triggers."""
        return list(self._parts.values())

    @property
    def depth(self) -> int:
        """The number of parts."""
        return len(self._parts)

    @property
    def image_bytes(self) -> int:
        """Bytes of all images."""
        return self._image_bytes

    @property
    def next_job(self) -> int:
        """A number that no part has had."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence").fetchone()
        return 1 + (row[0] if row else 0)

    def find(self, job: int) -> SpooledPart | None:
        """Return a part; None if it has left the spool."""
        return self._parts.get(job)

    def add(self, part: SpooledPart) -> None:
        """Add a part durably. Raises `SpoolIsFull`, or `SpoolFailure`."""
        self._check_room()
        with self._writing():
            self._connection.execute(INSERT, row_of(part))
        self._parts[part.job] = part

    def add_image(self, job: int, camera: str, content: bytes) -> None:
        """Add a camera's image of a part durably. Raises `SpoolFailure`."""
        try:
            write_durably(self._path(job, camera), content)
        except OSError as error:
            raise SpoolFailure(f"an image cannot be written to the spool: {error}") from error
        with self._counting:
            self._image_bytes += len(content)

    def image(self, job: int, camera: str) -> bytes | None:
        """Return a camera's image of a part; None if there is none. Raises `SpoolFailure`."""
        try:
            return self._path(job, camera).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolFailure(f"an image of the spool cannot be read: {error}") from error

    def tell(self, job: int, outcome: Outcome) -> None:
        """Note durably what the line is told of a part. Raises `SpoolFailure`."""
        self._update(job, told=outcome)

    def settle(self, job: int) -> None:
        """Note that the PLC needs a result no more; the part leaves if it is archived."""
        self._update(job, is_settled=True)

    def archived(self, job: int, inspection_id: str) -> None:
        """Note that the service has archived an inspection; with the last one the part leaves."""
        part = self._parts.get(job)
        if part is None:
            return
        inspections = tuple(
            replace(inspection, is_archived=True)
            if inspection.inspection_id == inspection_id
            else inspection
            for inspection in part.inspections
        )
        self._update(job, inspections=inspections)

    def look(self) -> None:
        """Raise `SpoolFailure` if the folder is gone, was replaced, or takes no writes."""
        try:
            identity = identity_of(self._folder)
            if not os.access(self._images, os.W_OK):
                raise PermissionError(errno.EACCES, "no file can be written there")
        except OSError as error:
            reason = error.strerror
            raise SpoolFailure(f"the spool's folder {self._folder}: {reason}") from error
        if identity != self._identity:
            raise SpoolFailure(f"the spool's folder {self._folder} is another one than before")

    def reopen(self) -> None:
        """Go on in a folder that is there again, with all parts. Raises `SpoolFailure`.

        The folder itself is not made: it may be the place of a disk that is not mounted. A
        database in it may have only parts of this spool.
        """
        try:
            self._images.mkdir(exist_ok=True)
            if self._identity_is_same():
                return
            self._connection.close()
            self._identity = _NONE
            connection = connect(self._folder / DATABASE)
            try:
                self._replace_rows(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, identity_of(self._folder)
            with self._counting:
                self._image_bytes = self._sweep()
        except (OSError, sqlite3.Error, ValueError) as error:
            raise SpoolFailure(f"the spool in {self._folder} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the spool; another station may open it."""
        self._connection.close()

    def _identity_is_same(self) -> bool:
        with suppress(OSError):
            return identity_of(self._folder) == self._identity
        return False

    def _replace_rows(self, connection: sqlite3.Connection) -> None:
        """Write all parts into a database. Raises `ValueError` if it has others."""
        jobs = {job for (job,) in connection.execute("SELECT job FROM parts")}
        if others := jobs - self._parts.keys():
            raise ValueError(
                f"it has {len(others)} parts that the station does not know: restart the station"
            )
        with connection:
            connection.execute("DELETE FROM parts")
            connection.executemany(INSERT, [row_of(part) for part in self._parts.values()])

    def _update(self, job: int, **changes: Any) -> None:  # noqa: ANN401 - fields of a part
        part = self._parts.get(job)
        if part is None:
            return
        part = replace(part, **changes)
        leaves = part.is_settled and part.is_archived
        with self._writing():
            if leaves:
                self._connection.execute("DELETE FROM parts WHERE job = ?", (job,))
            else:
                self._connection.execute(
                    "UPDATE parts SET inspections = ?, told = ?, is_settled = ? WHERE job = ?",
                    (inspections_text(part), told_text(part), int(part.is_settled), job),
                )
        if leaves:
            del self._parts[job]
            self._delete_images(part)
        else:
            self._parts[job] = part

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Commit what the block writes, or nothing of it."""
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise SpoolFailure(f"the spool cannot be written: {error}") from error

    def _check_room(self) -> None:
        self.look()
        limits = self._limits
        if len(self._parts) >= limits.max_parts:
            raise SpoolIsFull(f"{limits.max_parts} parts wait in the spool: is the service away?")
        if self._image_bytes >= limits.max_bytes:
            raise SpoolIsFull(f"the spool's images have {self._image_bytes} bytes")
        try:
            free_bytes = shutil.disk_usage(self._images).free
        except OSError as error:
            raise SpoolFailure(f"the spool's folder cannot be read: {error}") from error
        if free_bytes < limits.min_free_bytes:
            raise SpoolIsFull(
                f"the spool's disk has {free_bytes} bytes free, expected {limits.min_free_bytes}"
            )

    def _read(self) -> Iterator[SpooledPart]:
        for row in self._connection.execute(f"SELECT {COLUMNS} FROM parts ORDER BY job"):
            try:
                yield part_of(row)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"the row of job {row[0]} cannot be read: {error}") from error

    def _sweep(self) -> int:
        """Delete images whose parts have left; return the bytes of all others."""
        total = 0
        for path in self._images.iterdir():
            number = path.name.partition("-")[0]
            if number.isdecimal() and int(number) in self._parts:
                total += path.stat().st_size
            else:
                path.unlink()
        return total

    def _delete_images(self, part: SpooledPart) -> None:
        for camera in (name for inspection in part.inspections for name in inspection.cameras):
            path = self._path(part.job, camera)
            with suppress(OSError):  # a file that stays is deleted at the next start
                size = path.stat().st_size
                path.unlink()
                with self._counting:
                    self._image_bytes -= size

    def _path(self, job: int, camera: str) -> Path:
        return self._images / f"{job}-{quote(camera, safe='')}"


def _advice(error: Exception) -> str:
    """Return what to do about a spool that cannot be opened."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return "another station uses it: give each station its own folder"
    if isinstance(error, OSError) or "readonly" in str(error) or "open database" in str(error):
        return "let the station's user write there"
    return "move the folder away to start with an empty spool; its parts are then not archived"
