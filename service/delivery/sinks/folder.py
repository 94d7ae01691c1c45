"""The sink `folder`: JSON Lines in files that appear complete.

2026-11-29T23-05_line-1_1041.jsonl       minute of its first line, node, first event's number
2026-11-29T23-06_line-1_1107.jsonl.part  not yet complete: do not read it
images/ab12....png                       the images beside it, named by their SHA-256
"""

import errno
import os
import re
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from model.durable import append_durably, sync_folder
from service.delivery.message import Parcel
from service.delivery.sinks.sink import TAKEN, Held, Outcome, Place, Reason, SinkUnusable, Taken
from service.settings.sinks import FolderSettings

_PART = ".part"
_IMAGES = "images"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_TAIL_BYTES = 2**16


class FolderSink:
    """Appends lines to a file; a line is taken once it is on disk."""

    def __init__(self, name: str, settings: FolderSettings, place: Place) -> None:
        if re.search(r"[/\0]", place.node):
            raise SinkUnusable(f"the sink {name}: expected a node's name without /")
        self._settings = settings
        self._node = place.node
        self._find_image = place.find_image if settings.images else None
        self._part: Path | None = None
        self._lines = 0
        self._close_at = 0.0
        self._is_checked = False

    def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """Write parcels; return the outcomes up to the end of the file."""
        try:
            self._prepare()
            self._close_when_due()
            batch = parcels[: self._settings.max_lines - self._lines]
            for parcel in batch:
                self._put_images(parcel)
            if self._part is None:
                self._part = self._new_part(batch[0])
                self._close_at = time.monotonic() + self._settings.close_after_s
            is_new = not self._part.exists()
            append_durably(self._part, b"".join(parcel.body + b"\n" for parcel in batch))
            if is_new:
                sync_folder(self._settings.path)
        except OSError as error:
            return [_held(error)]
        self._lines += len(batch)
        return [TAKEN] * len(batch)

    def tend(self) -> Taken | Held | None:
        """Close the file when it is due."""
        try:
            self._prepare()
            self._close_when_due()
        except OSError as error:
            return _held(error)
        return TAKEN

    def close(self) -> None:
        """Close the file."""
        self._finish()

    def abort(self) -> None:
        """Do nothing: no receiver is waited for."""

    def _prepare(self) -> None:
        """Create the folder, and finish files that a crash has left; once."""
        if self._is_checked:
            return
        self._settings.path.mkdir(exist_ok=True)
        name = re.compile(rf"[\dT-]{{16}}_{re.escape(self._node)}_\d+\.jsonl\{_PART}")
        for part in sorted(self._settings.path.iterdir()):
            if name.fullmatch(part.name):
                _cut_torn_line(part)
                self._publish(part)
        self._is_checked = True

    def _close_when_due(self) -> None:
        is_full = self._lines >= self._settings.max_lines
        if self._part is not None and (is_full or time.monotonic() >= self._close_at):
            self._finish()

    def _finish(self) -> None:
        """Publish the file, if there is one."""
        if self._part is not None:
            self._publish(self._part)
            self._part, self._lines = None, 0

    def _new_part(self, parcel: Parcel) -> Path:
        minute = f"{datetime.now(UTC):%Y-%m-%dT%H-%M}"
        name = f"{minute}_{self._node}_{parcel.event.number}.jsonl"
        return self._settings.path / (name + _PART)

    def _publish(self, part: Path) -> None:
        """Rename a complete file; an existing file of that name stays, and this gets another."""
        if not part.exists():
            return
        if part.stat().st_size == 0:
            part.unlink()
            return
        target = part.with_name(part.name.removesuffix(_PART))
        stem, attempt = target.name.removesuffix(".jsonl"), 1
        while target.exists():  # the same events, written again after a crash
            attempt += 1
            target = part.with_name(f"{stem}-{attempt}.jsonl")
        part.rename(target)
        sync_folder(part.parent)

    def _put_images(self, parcel: Parcel) -> None:
        """Link or copy the images of a parcel that the archive keeps."""
        if self._find_image is None or parcel.inspection is None:
            return
        for view in parcel.inspection.views:
            if view.image_sha256 is None:
                continue
            source = self._find_image(view.image_sha256, parcel.inspection.received_at)
            if source is not None:
                folder = self._settings.path / _IMAGES
                folder.mkdir(exist_ok=True)
                _put(source, folder / (view.image_sha256 + source.suffix))


def _put(source: Path, target: Path) -> None:
    """Link a file, or copy it to another file system; a file that is gone is left out."""
    if target.exists():
        return
    staging = target.with_name(f".{target.name}")
    staging.unlink(missing_ok=True)
    try:
        try:
            os.link(source, staging)
        except OSError:
            shutil.copyfile(source, staging)
    except FileNotFoundError:  # the retention was faster
        return
    with staging.open("rb") as file:
        os.fsync(file.fileno())
    staging.rename(target)
    sync_folder(target.parent)


def _cut_torn_line(part: Path) -> None:
    """Remove an unfinished last line; it was never acknowledged."""
    with part.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _TAIL_BYTES)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())


def _held(error: OSError) -> Held:
    reason = Reason.BUSY if error.errno in _FULL else Reason.UNREACHABLE
    place = error.filename if isinstance(error.filename, str) else "the folder"
    return Held(reason, f"{place} cannot be written: {error.strerror or error}")
