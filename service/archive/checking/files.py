"""Compares rows with files: every row has its file, every file its row and its hash."""

import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, tuple_

from model.durable import sync_folder
from service.archive.checking.problems import Fault, Problem
from service.archive.media import MAP_SUFFIX, Media, MediaAltered, MediaGone
from service.archive.media.folder import ORPHANS, MediaFile, Stray
from service.archive.records import MediaState
from service.archive.retention.sweep import MIN_AGE, Reading, unkept_files
from service.archive.tables import KEPT, inspections, views

_PAGE = 1000


def check_rows(reading: Reading, media: Media) -> Iterator[Problem]:
    """Yield the images and raw maps that rows keep and that are not there."""
    last: tuple[UUID, int] | None = None
    while True:
        with reading() as connection:
            rows = _kept_views(connection, last)
        for row in rows:
            for kind in ("image", "map"):
                if row[f"{kind}_state"] == MediaState.KEPT.value and _is_gone(media, row, kind):
                    yield from _problem_if_still_kept(reading, row, kind)
        if len(rows) < _PAGE:
            return
        last = rows[-1]["inspection_id"], rows[-1]["view"]


def check_hashes(
    media: Media, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Problem]:
    """Yield the files whose content is not what was put; `progress` gets the fraction done."""
    total = sum(file.nbytes for file in media.files() if isinstance(file, MediaFile))
    done = 0
    for file in media.files():
        if not isinstance(file, MediaFile):
            continue
        try:
            media.read(file.sha256, file.day, file.suffix)
        except MediaGone:
            continue  # deleted meanwhile
        except MediaAltered as error:
            yield Problem(Fault.ALTERED, str(file.path), str(error))
        done += file.nbytes
        progress(min(done / max(total, 1), 1.0))


def check_strays(reading: Reading, media: Media) -> Iterator[Problem]:
    """Yield the files that no row keeps, and those that are not the archive's.

    A file younger than an hour may be waiting for its row.
    """
    for file in media.files():
        if isinstance(file, Stray) and file.staged_for is None:
            yield Problem(Fault.FOREIGN, str(file.path))
    for file in orphans(reading, media):
        yield Problem(Fault.NO_ROW, str(file.path))


def orphans(reading: Reading, media: Media) -> Iterator[MediaFile]:
    """Yield the files that no row keeps and that are older than an hour."""
    for batch in unkept_files(reading, media.files()):
        oldest_s = time.time() - MIN_AGE.total_seconds()
        yield from (file for file in batch if file.modified_s < oldest_s)


def move_orphan(media: Media, file: MediaFile) -> Path:
    """Move a file to `media/orphans/<day>`, and return its new path. Raises `OSError`."""
    target = media.folder / ORPHANS / file.day.isoformat() / file.path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    file.path.rename(target)
    sync_folder(target.parent)
    return target


def _kept_views(connection: Connection, last: tuple[UUID, int] | None) -> list[dict[str, Any]]:
    query = (
        select(views, inspections.c.received_at)
        .with_hint(views, "INDEXED BY views_kept", "sqlite")
        .join(inspections, inspections.c.inspection_id == views.c.inspection_id)
        .where(KEPT)
        .order_by(views.c.inspection_id, views.c.view)
        .limit(_PAGE)
    )
    if last is not None:
        key = (views.c.inspection_id, views.c.view)
        query = query.where(tuple_(*key) > tuple_(*last, types=[column.type for column in key]))
    return [dict(row) for row in connection.execute(query).mappings()]


def _is_gone(media: Media, row: dict[str, Any], kind: str) -> bool:
    day: date = row["received_at"].date()
    try:
        media.find(row[f"{kind}_sha256"], day, MAP_SUFFIX if kind == "map" else None)
    except MediaGone:
        return True
    return False


def _problem_if_still_kept(reading: Reading, row: dict[str, Any], kind: str) -> Iterator[Problem]:
    """Yield the problem unless the row has lost its file properly since it was read."""
    columns = views.c
    query = select(columns[f"{kind}_state"]).where(
        columns.inspection_id == row["inspection_id"], columns.view == row["view"]
    )
    with reading() as connection:
        state = connection.execute(query).scalar()
    if state == MediaState.KEPT.value:
        detail = f"{kind} {row[f'{kind}_sha256']} of {row['received_at']:%Y-%m-%d}"
        yield Problem(Fault.NO_FILE, f"inspection {row['inspection_id']}", detail)
