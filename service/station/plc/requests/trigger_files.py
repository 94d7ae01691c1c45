"""The files of the folder door; every method may block.

    SHARE/17-cell-17.trigger       a trigger: number and part id are in its name
    SHARE/any.json                 a trigger, {"trigger_number": 17, "part_id": "cell-17"}, or a
                                   command, {"command": "AcknowledgeError"}
    SHARE/station.state            what the station shows: is it ready?
    SHARE/taken/                   triggers that the station has claimed, until they are answered
    SHARE/results/17-cell-17.json  the result; it appears complete
    SHARE/refused/any.json         why a trigger was not taken

A trigger is claimed by a rename, so that it is neither lost nor taken twice. JSON counts once it is
a whole object.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model.bounded import read_regular, strict_json
from model.durable import replace_file, sync_folder
from service.station.plc.requests.messages import (
    MOST_BYTES,
    CommandRequest,
    RequestRefused,
    TriggerRequest,
    checked_request,
)
from service.station.settings.requests import FolderDoorSettings

TAKEN, RESULTS, REFUSED = "taken", "results", "refused"
STATE = "station.state"
_NAME = re.compile(r"(\d{1,10})(?:-(.*))?\.trigger", re.DOTALL)
_MARK = "~"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A file in `taken`, and its request or why there is none; `name` is the one it came with.

    A `place` that is empty belongs to something that is no file: it stays where it is.
    """

    name: str
    place: str
    request: TriggerRequest | CommandRequest | None = None
    refusal: RequestRefused | None = None


class TriggerFiles:
    """A folder of triggers; files that are there when it is opened are refused."""

    def __init__(self, settings: FolderDoorSettings) -> None:
        self._settings = settings
        self._root = settings.path
        self._stale: set[str] = set()
        self._strange: set[tuple[str, int]] = set()
        """Names and inodes of folders, pipes and others that were refused."""
        self._unreadable: dict[str, tuple[tuple[int, int], float]] = {}
        """By name: size and time of a file that is no JSON object, and since when it has them."""

    def open(self) -> None:
        """Make the folders. Raises `OSError`."""
        for name in (TAKEN, RESULTS, REFUSED):
            (self._root / name).mkdir(exist_ok=True)
        self._stale = {entry.name for entry in self._waiting()}

    def count(self) -> int:
        """Return the number of triggers that wait. Raises `OSError`."""
        return sum(1 for _ in self._waiting())

    def claim_all(self) -> list[Claimed]:
        """Claim all files that are complete, the oldest first. Raises `OSError`."""
        entries = sorted(self._waiting(), key=_age)
        names = {entry.name for entry in entries}
        self._unreadable = {name: v for name, v in self._unreadable.items() if name in names}
        self._stale &= names
        claimed = self._refuse_strange()
        for entry in entries:
            with suppress(OSError):  # its writer still has it, or took it back: the next look
                if (file := self._claim(entry)) is not None:
                    claimed.append(file)
        return claimed

    def claimed_before(self) -> list[Claimed]:
        """Return what an earlier run has claimed and not answered. Raises `OSError`."""
        files = []
        for place in sorted(path.name for path in (self._root / TAKEN).iterdir()):
            name = place.partition(_MARK)[2]
            with suppress(RequestRefused, OSError):
                request = self._read(self._root / TAKEN / place, name)
                files.append(Claimed(name, place, request))
                continue
            files.append(Claimed(name, place))
        return files

    def write_state(self, content: bytes) -> None:
        """Write what the station shows, in one step. Raises `OSError`."""
        replace_file(self._root / STATE, content)

    def write(self, folder: str, name: str, content: bytes) -> None:
        """Write a result or a refusal in one step. Raises `OSError`."""
        path = self._path(folder, name)
        replace_file(path, content)
        with suppress(OSError):  # network drives cannot sync a folder
            sync_folder(path.parent)

    def release(self, place: str) -> None:
        """Forget a claimed file. Raises `OSError`."""
        (self._root / TAKEN / place).unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete results and refusals that are too old or too many. Raises `OSError`."""
        too_old = time.time() - self._settings.results_s
        for folder in (RESULTS, REFUSED):
            with os.scandir(self._root / folder) as entries:
                files = [(entry.stat().st_mtime, entry.path) for entry in entries]
            files.sort(reverse=True)
            for number, (changed_at, path) in enumerate(files):
                if number >= self._settings.max_results or changed_at < too_old:
                    Path(path).unlink(missing_ok=True)

    def _named(self) -> Iterator["os.DirEntry[str]"]:
        """Return all that is named as a trigger, whether it is a file or not. Raises `OSError`."""
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name.endswith((".json", ".trigger")) and entry.name[0] != ".":
                    yield entry

    def _waiting(self) -> Iterator["os.DirEntry[str]"]:
        return (entry for entry in self._named() if entry.is_file(follow_symlinks=False))

    def _refuse_strange(self) -> list[Claimed]:
        """Return what is no file, each once; nothing opens it. Raises `OSError`."""
        strange = {
            (entry.name, entry.inode())
            for entry in self._named()
            if not entry.is_file(follow_symlinks=False)
        }
        new, self._strange = strange - self._strange, strange
        refusal = RequestRefused("invalid", "expected a file; a folder, link or pipe is left alone")
        return [Claimed(name, "", refusal=refusal) for name, _ in sorted(new)]

    def _claim(self, entry: "os.DirEntry[str]") -> Claimed | None:
        """Claim a file; None if it is not complete. Raises `OSError`."""
        name, request, refusal = entry.name, None, None
        unread = "expected a JSON object"
        try:
            request = self._read(Path(entry.path), name)
        except RequestRefused as error:
            refusal = error
        except OSError as error:  # its writer may still have it
            unread = f"the file cannot be read: {error.strerror}"
        if request is None and refusal is None:
            if not self._is_stable(entry):
                return None
            refusal = RequestRefused("invalid", unread)
        if name in self._stale:
            request = None
            refusal = RequestRefused("not-ready", "the file is older than the station's start")
        for folder in (RESULTS, REFUSED):  # of an earlier file of this name
            self._path(folder, name).unlink(missing_ok=True)
        place = f"{secrets.token_hex(8)}{_MARK}{name}"
        Path(entry.path).rename(self._root / TAKEN / place)
        return Claimed(name, place, request, refusal)

    def _read(self, path: Path, name: str) -> TriggerRequest | CommandRequest | None:
        """Return a file's request; None if it is no JSON object, perhaps not yet.

        Raises `RequestRefused` and `OSError`.
        """
        if name.endswith(".trigger"):
            return _request_of(name)
        if path.stat().st_size > MOST_BYTES:
            raise RequestRefused("invalid", f"expected at most {MOST_BYTES} bytes")
        content, _ = read_regular(path, MOST_BYTES)
        try:
            values = strict_json(content, most_depth=4, most_values=100)
        except ValueError:
            return None
        if not isinstance(values, dict):
            return None
        if "command" in values:
            return checked_request(CommandRequest, values)
        return checked_request(TriggerRequest, values)

    def _is_stable(self, entry: "os.DirEntry[str]") -> bool:
        """Whether a file that is no JSON object has not changed for a while."""
        status = Path(entry.path).stat()
        state = (status.st_size, status.st_mtime_ns)
        before = self._unreadable.get(entry.name)
        if before is None or before[0] != state:
            self._unreadable[entry.name] = (state, time.monotonic())
            return False
        return time.monotonic() - before[1] >= self._settings.stable_ms / 1_000

    def _path(self, folder: str, name: str) -> Path:
        return self._root / folder / f"{name.rpartition('.')[0] or name}.json"


def _request_of(name: str) -> TriggerRequest:
    """Return the request in a name. Raises `RequestRefused`."""
    found = _NAME.fullmatch(name)
    if found is None:
        names = "17.trigger or 17-cell-17.trigger, with a number of up to ten digits"
        raise RequestRefused("invalid", f"expected a name such as {names}")
    values = {"trigger_number": int(found[1]), "part_id": found[2] or ""}
    return checked_request(TriggerRequest, values)


def _age(entry: "os.DirEntry[str]") -> tuple[float, str]:
    try:
        return entry.stat().st_mtime, entry.name
    except OSError:
        return 0.0, entry.name
