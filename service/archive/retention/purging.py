"""Deletes inspections that a person names by a filter, a page at a time.

    purger = Purger(journal, media, sinks=["mes"], metrics=metrics)
    preview = purger.preview(Filter(station="EL-3", until=noon))
    purged = purger.purge(Filter(station="EL-3", until=noon), who="Ada")   # until its end is None

Inspections that are held, or that a sink has not taken, stay. Rows that are in a PostgreSQL stay
there.
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import and_, case, exists, func, select

from model.durable import append_durably
from model.inspection import Decision
from service.archive.journal import Journal
from service.archive.media import Media
from service.archive.retention.slices import SLICE, Slices
from service.archive.searching.search import Filter, Position, page_query
from service.archive.tables import events
from service.telemetry.metrics.retention import RetentionMetrics

logger = logging.getLogger("service.purging")

PURGES_FILE = "purges.jsonl"
"""A line for each page of a purge, in the archive's folder."""

_PAGE = 500
_ALL = 2**62


@dataclass(frozen=True, slots=True)
class Preview:
    """Inspections that a filter matches, and how many of them a purge would leave."""

    matched: int
    held: int
    not_delivered: int
    by_decision: Mapping[Decision, int]
    oldest: datetime | None
    newest: datetime | None

    @property
    def deletable(self) -> int:
        """The number that a purge would delete."""
        return self.matched - self.held - self.not_delivered


@dataclass(frozen=True, slots=True)
class Purged:
    """A page of a purge; the next one begins after `end`, None on the last page."""

    deleted: int
    left: int
    files: int
    end: Position | None


class Purger:
    """Deletes what a person names; its calls block.

    `sinks` are the names of the configured sinks.
    """

    def __init__(
        self, journal: Journal, media: Media, *, sinks: Sequence[str], metrics: RetentionMetrics
    ) -> None:
        self._journal = journal
        self._media = media
        self._slices = Slices(journal, media, sinks=sinks, metrics=metrics)
        self._one_at_a_time = threading.Lock()

    def preview(self, wanted: Filter) -> Preview:
        """Count what a purge would delete, and what it would leave."""
        matched = page_query(wanted, _ALL).subquery()
        waits = exists().where(
            and_(
                events.c.inspection_id == matched.c.inspection_id,
                events.c.number >= self._slices.undelivered_from(),
            )
        )
        query = select(
            matched.c.told,
            func.count().label("matched"),
            func.sum(case((matched.c.is_held, 1), else_=0)).label("held"),
            func.sum(case((~matched.c.is_held & waits, 1), else_=0)).label("not_delivered"),
            func.min(matched.c.received_at).label("oldest"),
            func.max(matched.c.received_at).label("newest"),
        ).group_by(matched.c.told)
        with self._journal.reading() as connection:
            rows = connection.execute(query).all()
        return Preview(
            sum(row.matched for row in rows),
            sum(row.held for row in rows),
            sum(row.not_delivered for row in rows),
            {Decision(row.told): row.matched for row in rows},
            min((row.oldest for row in rows), default=None),
            max((row.newest for row in rows), default=None),
        )

    def purge(
        self, wanted: Filter, after: Position | None = None, *, who: str, media_only: bool = False
    ) -> Purged:
        """Delete a page of inspections, or only their files; log who did. Raises `OSError`."""
        with self._journal.reading() as connection:
            rows = connection.execute(page_query(wanted, _PAGE, after)).all()
        ids = [row.inspection_id for row in rows]
        slices = [ids[start : start + SLICE] for start in range(0, len(ids), SLICE)]
        delete = self._slices.delete_media if media_only else self._slices.delete_inspections
        with self._one_at_a_time:
            self._slices.deleted.clear()
            deleted = sum(delete(slice_, "purge") for slice_ in slices)
            files = self._slices.deleted["file", "purge"]
        end = Position(rows[-1].received_at, rows[-1].inspection_id) if len(rows) == _PAGE else None
        purged = Purged(deleted, len(ids) - deleted, files, end)
        if deleted:
            self._log(wanted, purged, who, media_only=media_only)
        return purged

    def _log(self, wanted: Filter, purged: Purged, who: str, *, media_only: bool) -> None:
        """Add a line to the file of purges; a full disk may be why somebody purges."""
        given = {name: value for name, value in json.loads(wanted.text).items() if value}
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"), "who": who, "filter": given,
            "deleted": purged.deleted, "files": purged.files, "left": purged.left,
            "media_only": media_only,
        }  # fmt: skip
        text = json.dumps(line, ensure_ascii=False)
        logger.info("purged: %s", text)
        try:
            append_durably(self._media.folder.parent / PURGES_FILE, text.encode() + b"\n")
        except OSError as error:
            logger.warning("%s cannot be written: %s", PURGES_FILE, error)
