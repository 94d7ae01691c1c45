"""Deletes inspections, or their images and raw maps: rows first, then files.

    deleted = journal.write_now(lambda c: delete_inspections(c, ids, undelivered_from=10))
    unlink_files(journal, media, deleted.files)

A crash between the two leaves files without a row that keeps them; `sweep` finds these. Nothing
here deletes what is held, or has an event that a sink has not taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from service.archive.journal import Journal
from service.archive.media import MAP_SUFFIX, Media
from service.archive.records import MediaState
from service.archive.store import hour_of
from service.archive.tables import (
    KEPT,
    dead_letters,
    events,
    holds,
    inspections,
    thinned_hours,
    verdicts,
    views,
)

_DAY = timedelta(days=1)
_IDS: BindParameter[Sequence[UUID]] = bindparam("ids", expanding=True)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a row kept: an image, or a raw map."""

    sha256: str
    day: date
    is_map: bool

    @property
    def suffix(self) -> str | None:
        """The suffix to find it by."""
        return MAP_SUFFIX if self.is_map else None


@dataclass(frozen=True, slots=True)
class Deletion:
    """Inspections that were deleted, or lost their files, and those files."""

    ids: Sequence[UUID]
    files: Sequence[KeptFile]


def is_protected(undelivered_from: int) -> ColumnElement[bool]:
    """Return the condition of inspections that are held, or not delivered to every sink.

    `undelivered_from` is as `positions.undelivered_from` returns it.
    """
    waiting = and_(
        events.c.inspection_id == inspections.c.inspection_id,
        events.c.number >= undelivered_from,
    )
    return inspections.c.is_held | exists().where(waiting)


def delete_inspections(
    connection: Connection, ids: Sequence[UUID], undelivered_from: int
) -> Deletion:
    """Delete inspections with views, verdicts, holds and events; roll-ups stay.

    Leaves out those that are protected by now.
    """
    times = _free_to_delete(connection, ids, undelivered_from)
    if not times:
        return Deletion((), ())
    files = _files_of(connection, times)
    hours = [{"hour": hour} for hour in {hour_of(time) for time in times.values()}]
    connection.execute(insert(thinned_hours).on_conflict_do_nothing(), hours)
    doomed = {"ids": list(times)}
    numbers = select(events.c.number).where(events.c.inspection_id.in_(_IDS))
    connection.execute(delete(dead_letters).where(dead_letters.c.number.in_(numbers)), doomed)
    for table in (events, verdicts, holds, views, inspections):
        connection.execute(delete(table).where(table.c.inspection_id.in_(_IDS)), doomed)
    return Deletion(list(times), files)


def delete_media(connection: Connection, ids: Sequence[UUID], undelivered_from: int) -> Deletion:
    """Mark the files of inspections as deleted. Leaves out those that are protected by now."""
    times = _free_to_delete(connection, ids, undelivered_from)
    files = _files_of(connection, times)
    now = datetime.now(UTC)
    for kind in ("image", "map"):
        changes = {f"{kind}_state": MediaState.DELETED.value, f"{kind}_deleted_at": now}
        is_kept = views.c[f"{kind}_state"] == MediaState.KEPT.value
        statement = update(views).where(views.c.inspection_id.in_(_IDS), is_kept)
        connection.execute(statement.values(changes), {"ids": list(times)})
    return Deletion(list(times), files)


def unlink_files(journal: Journal, media: Media, files: Iterable[KeptFile]) -> int:
    """Delete files that no row keeps any more; return the number of those deleted.

    A file stays while another inspection of that day keeps the same content, or may be about to.
    Raises `OSError`.
    """
    unlinked = 0
    for file in dict.fromkeys(files):

        def is_kept(file: KeptFile = file) -> bool:
            with journal.reading() as connection:
                return bool(kept_hashes(connection, file.day, [file.sha256], is_map=file.is_map))

        nbytes = media.delete(file.sha256, file.day, file.suffix, is_kept=is_kept)
        unlinked += nbytes is not None
    return unlinked


def kept_hashes(
    connection: Connection, day: date, hashes: Sequence[str], *, is_map: bool
) -> set[str]:
    """Return those of the SHA-256 that rows of a day keep as images, or as raw maps."""
    kind = "map" if is_map else "image"
    column = views.c[f"{kind}_sha256"]
    since, until = bounds_of(day)
    query = (
        select(column)
        .join(inspections, inspections.c.inspection_id == views.c.inspection_id)
        .where(
            text(f"{kind}_state = 'kept'"),  # exactly as the partial index has it
            column.in_(bindparam("hashes", expanding=True)),
            inspections.c.received_at >= since,
            inspections.c.received_at < until,
        )
    )
    return set(connection.execute(query, {"hashes": list(hashes)}).scalars())


def bounds_of(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of a day and of the next, in UTC."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return since, since + _DAY


def _free_to_delete(
    connection: Connection, ids: Sequence[UUID], undelivered_from: int
) -> dict[UUID, datetime]:
    """Map the inspections that are there and not protected to `received_at`."""
    query = select(inspections.c.inspection_id, inspections.c.received_at).where(
        inspections.c.inspection_id.in_(_IDS), ~is_protected(undelivered_from)
    )
    return {row[0]: row[1] for row in connection.execute(query, {"ids": list(ids)})}


def _files_of(connection: Connection, times: dict[UUID, datetime]) -> list[KeptFile]:
    query = select(views).where(views.c.inspection_id.in_(_IDS), KEPT)
    rows = connection.execute(query, {"ids": list(times)}).mappings()
    return [file for row in rows for file in _kept_files(row, times[row["inspection_id"]].date())]


def _kept_files(row: Any, day: date) -> list[KeptFile]:  # noqa: ANN401 - a row of `views`
    return [
        KeptFile(row[f"{kind}_sha256"], day, is_map=kind == "map")
        for kind in ("image", "map")
        if row[f"{kind}_state"] == MediaState.KEPT.value
    ]
