"""Copies media files, and says which files rows keep.

place_file(source, target)
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlalchemy import Connection, select

from model.durable import sync_folder
from service.archive.media.folder import MediaFile, files_in
from service.archive.records import MediaState
from service.archive.tables import KEPT, inspections, views


@dataclass(frozen=True, slots=True)
class FileKey:
    """Which file a row keeps: an image or a raw map, by its hash and the inspection's UTC day."""

    sha256: str
    day: date
    is_map: bool


def kept_files(connection: Connection) -> Iterator[FileKey]:
    """Yield each file that a row keeps; several rows may keep the same."""
    statement = (
        select(
            inspections.c.received_at,
            views.c.image_sha256,
            views.c.image_state,
            views.c.map_sha256,
            views.c.map_state,
        )
        .join_from(views, inspections)
        .where(KEPT)
    )
    for received_at, image, image_state, raw_map, map_state in connection.execute(statement):
        if image_state == MediaState.KEPT:
            yield FileKey(image, received_at.date(), is_map=False)
        if map_state == MediaState.KEPT:
            yield FileKey(raw_map, received_at.date(), is_map=True)


def media_in(folder: Path) -> Iterator[tuple[FileKey, MediaFile]]:
    """Yield the files of a media folder."""
    for file in files_in(folder):
        if isinstance(file, MediaFile):
            yield FileKey(file.sha256, file.day, file.is_map), file


def place_file(source: Path, target: Path) -> None:
    """Link a file, or copy it to another disk; a media file never changes.

    The target is durable when its folder has been synced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # another disk, or one without links
        target.hardlink_to(source)
        return
    copy_file(source, target)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file through to the disk."""
    target.unlink(missing_ok=True)
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 2**20)
        writing.flush()
        os.fsync(writing.fileno())


def sync_tree(folder: Path) -> None:
    """Make the names of all files in a folder survive a power cut."""
    for path, _, _ in os.walk(folder):
        sync_folder(Path(path))
