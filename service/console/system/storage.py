"""Storage: the journal, the images, the disk, and what the retention may keep."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, func, select

from service.archive.journal import Journal
from service.archive.media import Media
from service.archive.retention.aging import oldest_time
from service.archive.retention.pages import file_size
from service.archive.tables import KEPT, inspections, views
from service.console.board.traffic import values_of
from service.console.visits import CHANGING, VisitDependency
from service.errors import JournalUnavailable
from service.http.declaration import declares

router = APIRouter()

_MOST_COUNTED = 100_000
_KEPT_INDEX = "INDEXED BY views_kept"


@dataclass(frozen=True, slots=True)
class StorageView:
    """What the archive of this node has; `problem` says why the journal cannot be read.

    `images` counts views with a file, up to `most_counted`.
    """

    media_bytes: int
    free_bytes: int | None
    journal_bytes: int = 0
    images: int = 0
    oldest_inspection: datetime | None = None
    oldest_image: datetime | None = None
    problem: str = ""
    most_counted: int = _MOST_COUNTED


@router.get("/console/system/storage")
@declares(is_page=True, scope=CHANGING)
async def page(request: Request, visit: VisitDependency) -> Response:
    """Show the archive of this node and the settings that limit it."""
    state = request.app.state
    archive, storage, is_refused = state.archive, None, False
    if archive is not None:
        read = partial(storage_of, archive.journal, archive.media)
        storage = await asyncio.to_thread(read)
        is_refused = any(value for _, value in values_of(state.metrics.journal_failed))
    return visit.page(
        "system_storage.html",
        section="storage",
        storage=storage,
        is_refused=is_refused,
        folder=str(archive.folder) if archive else "",
        last_round=archive.retention.last_round if archive else None,
        limits=state.archive_settings,
        has_central=state.archive_settings.url is not None,
    )


def storage_of(journal: Journal, media: Media) -> StorageView:
    """Read the state of a node's archive; blocks."""
    free_bytes = None
    with suppress(OSError):
        free_bytes = media.free_bytes()
    try:
        with journal.reading() as connection:
            return StorageView(
                media.bytes_in_use,
                free_bytes,
                file_size(connection).used_bytes,
                _count_kept(connection),
                oldest_time(connection),
                _oldest_kept(connection),
            )
    except JournalUnavailable as error:
        return StorageView(media.bytes_in_use, free_bytes, problem=str(error))


def _count_kept(connection: Connection) -> int:
    kept = select(views.c.view).with_hint(views, _KEPT_INDEX, "sqlite").where(KEPT)
    limited = kept.limit(_MOST_COUNTED).subquery()
    return int(connection.execute(select(func.count()).select_from(limited)).scalar_one())


def _oldest_kept(connection: Connection) -> datetime | None:
    """Return when the first inspection with a file was received: ids begin with their time."""
    first = (
        select(views.c.inspection_id)
        .with_hint(views, _KEPT_INDEX, "sqlite")
        .where(KEPT)
        .order_by(views.c.inspection_id)
        .limit(1)
    )
    query = select(inspections.c.received_at).where(
        inspections.c.inspection_id == first.scalar_subquery()
    )
    return connection.execute(query).scalar()
