"""Deletes files that no row keeps: a crash between a row's deletion and its file's leaves them.

deleted = sweep(journal, media, longest_days=365, max_bytes=10**10, pause=lambda: False)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import TypeAlias

from sqlalchemy import Connection, select

from service.archive.journal import Journal
from service.archive.media import Media
from service.archive.media.folder import MediaFile, Stray
from service.archive.records import MediaState
from service.archive.retention.deletion import KeptFile, bounds_of, kept_hashes, unlink_files
from service.archive.tables import inspections, views

Reading: TypeAlias = Callable[[], AbstractContextManager[Connection]]
"""Opens a read-only connection that sees one snapshot."""

MIN_AGE = timedelta(hours=1)
"""A younger file may be waiting for its row."""

_BATCH = 400


def sweep(
    journal: Journal,
    media: Media,
    *,
    longest_days: float,
    max_bytes: int,
    pause: Callable[[], bool],
) -> int:
    """Delete files that no row keeps; return their number. Raises `OSError`.

    Such a file goes if a row says that it was deleted, if it is older than any media may be, or
    while all files have too many bytes. All others stay for `mambaad archive check`: perhaps
    somebody has put another journal beside them. `pause` is called between batches, and returns
    whether to stop.
    """
    deleted = 0
    for batch in unkept_files(journal.reading, media.files()):
        now = datetime.now(UTC)
        files = [file for file in batch if now - _modified(file) > MIN_AGE]
        with journal.reading() as connection:
            deleted_hashes = _deleted_hashes(connection, files)
        for file in files:
            is_expired = now - bounds_of(file.day)[1] > timedelta(days=longest_days)
            if file.sha256 in deleted_hashes or is_expired or media.bytes_in_use > max_bytes:
                deleted += unlink_files(journal, media, [_kept_file(file)])
        if pause():
            break
    return deleted


def unkept_files(
    reading: Reading, files: Iterable[MediaFile | Stray]
) -> Iterator[Sequence[MediaFile]]:
    """Yield files that no row keeps, in batches of one day; a batch may be empty."""
    whole = (file for file in files if isinstance(file, MediaFile))
    for day, of_day in groupby(whole, key=lambda file: file.day):
        while batch := list(islice(of_day, _BATCH)):
            with reading() as connection:
                kept = {
                    is_map: kept_hashes(connection, day, _hashes(batch, is_map), is_map=is_map)
                    for is_map in (False, True)
                }
            yield [file for file in batch if file.sha256 not in kept[file.is_map]]


def _deleted_hashes(connection: Connection, files: Sequence[MediaFile]) -> set[str]:
    """Return those of the files' SHA-256 that rows of their day say were deleted."""
    if not files:
        return set()
    hashes = [file.sha256 for file in files]
    since, until = bounds_of(files[0].day)
    found: set[str] = set()
    for kind in ("image", "map"):
        query = (
            select(views.c[f"{kind}_sha256"])
            .join(inspections, inspections.c.inspection_id == views.c.inspection_id)
            .where(
                inspections.c.received_at >= since,
                inspections.c.received_at < until,
                views.c[f"{kind}_state"] == MediaState.DELETED.value,
                views.c[f"{kind}_sha256"].in_(hashes),
            )
        )
        found.update(connection.execute(query).scalars())
    return found


def _hashes(files: Sequence[MediaFile], is_map: bool) -> list[str]:
    return [file.sha256 for file in files if file.is_map == is_map]


def _kept_file(file: MediaFile) -> KeptFile:
    return KeptFile(file.sha256, file.day, is_map=file.is_map)


def _modified(file: MediaFile) -> datetime:
    return datetime.fromtimestamp(file.modified_s, UTC)
