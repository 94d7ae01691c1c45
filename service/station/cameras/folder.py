"""A folder that a camera, or its software, writes files into."""

import asyncio
import fnmatch
import math
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from glob import escape
from typing import NamedTuple

from service.station.cameras.camera import CameraSilent, Frame, Shot, Take
from service.station.cameras.folder_changes import watching
from service.station.settings import FolderCamera

_SHORTEST_S = 0.001


class _File(NamedTuple):
    """One writing of a file: a file that is replaced under its name is another one."""

    name: str
    inode: int
    bytes: int
    modified_ns: int


@dataclass(slots=True)
class _Armed:
    """What one part waits for: files of a pattern that are not among those `before`."""

    pattern: str
    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    is_over: bool = False

    def is_new(self, file: _File) -> bool:
        """Whether the file, or this writing of it, came after the camera was armed."""
        return self.before.get(file.name) != (file.inode, file.modified_ns) and file.bytes > 0


class WatchedFolder:
    """A file counts once it has not changed for `stable_ms`, or at once if it is renamed there.

    Hidden files and those that the pattern leaves out never count.
    """

    def __init__(self, name: str, settings: FolderCamera) -> None:
        self._name = name
        self._settings = settings
        self._armed: _Armed | None = None
        self._is_readable: bool | None = None

    @property
    def is_up(self) -> bool | None:
        """False if the folder cannot be read; otherwise nobody knows before an image comes."""
        return False if self._is_readable is False else None

    async def open(self) -> None:
        """Do nothing: a folder needs no connection."""

    async def arm(self, shot: Shot) -> Take:
        """Note which files exist. Raises `CameraSilent`."""
        if self._armed is not None:
            self._armed.is_over = True
        self._armed = armed = _Armed(_pattern(self._settings.pattern, shot))
        files = await asyncio.to_thread(self._files, armed.pattern)
        armed.before = {file.name: (file.inode, file.modified_ns) for file in files}
        return partial(self._take, armed)

    async def close(self) -> None:
        """Do nothing: a folder needs no connection."""

    async def _take(self, armed: "_Armed") -> Frame:
        """Return the first file that came since. Raises `CameraSilent`."""
        timeout_s = self._settings.timeout_ms / 1_000
        try:
            async with asyncio.timeout(timeout_s):
                return await self._first(armed)
        except TimeoutError:
            raise CameraSilent(
                f"camera {self._name}: no new image in {self._settings.path} within "
                f"{self._settings.timeout_ms:g} ms"
            ) from None

    async def _first(self, armed: "_Armed") -> Frame:
        seen: dict[_File, float] = {}
        async with watching(self._settings.path, poll=self._settings.poll) as changes:
            while True:
                now = time.monotonic()
                files = await asyncio.to_thread(self._files, armed.pattern)
                if armed.is_over:
                    raise CameraSilent(f"camera {self._name}: no image before the next trigger")
                seen = {file: seen.get(file, now) for file in files if armed.is_new(file)}
                for file in sorted(seen, key=lambda file: file.modified_ns):
                    if self._missing_s(now - seen[file]) <= 0:
                        content = await asyncio.to_thread(self._read, file)
                        if content is not None:
                            return Frame(content, datetime.now(UTC))
                waits = [self._missing_s(now - since) for since in seen.values()]
                await changes.wait(max(_SHORTEST_S, min(waits, default=math.inf)))

    def _missing_s(self, unchanged_s: float) -> float:
        """Return how much longer a file must not change until it counts as complete."""
        if self._settings.renamed_into_place:
            return 0.0
        return self._settings.stable_ms / 1_000 - unchanged_s

    def _files(self, pattern: str) -> list[_File]:
        # Not fnmatchcase: it would remember the patterns of 32,768 parts.
        is_wanted = re.compile(fnmatch.translate(pattern)).match
        files = []
        try:
            with os.scandir(self._settings.path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not is_wanted(entry.name):
                        continue
                    try:
                        status = entry.stat()
                        is_file = entry.is_file()
                    except FileNotFoundError:  # renamed or deleted at this moment
                        continue
                    if is_file:
                        file = _File(entry.name, status.st_ino, status.st_size, status.st_mtime_ns)
                        files.append(file)
        except OSError as error:
            self._is_readable = False
            raise CameraSilent(
                f"camera {self._name}: the folder {self._settings.path} cannot be read: "
                f"{error.strerror}"
            ) from error
        self._is_readable = True
        return files

    def _read(self, file: _File) -> bytes | None:
        """Return the content; None if the file has changed while it was read."""
        path = self._settings.path / file.name
        try:
            content = path.read_bytes()
        except OSError:
            return None
        return content if len(content) == file.bytes else None


def _pattern(pattern: str, shot: Shot) -> str:
    """Return a pattern with the part's number and name, whose own wildcards match themselves."""
    text = pattern.replace("{trigger_number}", str(shot.trigger_number))
    return text.replace("{part_id}", escape(shot.part_id))
