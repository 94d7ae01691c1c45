"""Deletes a slice of inspections, or of their files: in one transaction, then on the disk.

slices = Slices(journal, media, sinks=["mes"], metrics=metrics)
slices.delete_inspections(ids, "age")
slices.deleted["inspections", "age"], slices.deleted["files", "age"]
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import Connection

from service.archive.journal import Journal
from service.archive.media import Media
from service.archive.positions import undelivered_from
from service.archive.retention.deletion import (
    Deletion,
    KeptFile,
    delete_inspections,
    delete_media,
    unlink_files,
)
from service.telemetry.metrics.retention import RetentionMetrics

logger = logging.getLogger("service.slices")

SLICE = 20
"""Inspections deleted in one transaction, for which an inspection may have to wait."""


class Slices:
    """Deletes slices; `deleted` counts by kind and reason, `days` are those of deleted files.

    `sinks` are the names of the configured sinks: an inspection that one of them has not taken
    stays, as does one that is held.
    """

    def __init__(
        self, journal: Journal, media: Media, *, sinks: Sequence[str], metrics: RetentionMetrics
    ) -> None:
        self._journal = journal
        self._media = media
        self._sinks = sinks
        self._metrics = metrics
        self._not_unlinked: list[tuple[KeptFile, str]] = []
        self.deleted: Counter[tuple[str, str]] = Counter()
        self.days: set[date] = set()

    def undelivered_from(self) -> int:
        """Return the number of the first event that a sink has not taken."""
        with self._journal.reading() as connection:
            return undelivered_from(connection, self._sinks)

    def delete_inspections(self, ids: Sequence[UUID], reason: str) -> int:
        """Delete inspections and their files; return how many. Raises `OSError`."""
        deletion = self._delete(delete_inspections, ids, reason)
        self._count("inspection", reason, len(deletion.ids))
        return len(deletion.ids)

    def delete_media(self, ids: Sequence[UUID], reason: str) -> int:
        """Delete the files of inspections; return of how many. Raises `OSError`."""
        return len(self._delete(delete_media, ids, reason).ids)

    def finish(self) -> None:
        """Delete the files that an earlier error of the disk has left. Raises `OSError`.

        Call it before the next slice: while files cannot be deleted, no row may lose its file.
        """
        while self._not_unlinked:
            file, reason = self._not_unlinked[-1]
            self._count("file", reason, unlink_files(self._journal, self._media, [file]))
            self._not_unlinked.pop()
            self.days.add(file.day)

    def count_unkept(self, files: int) -> None:
        """Count deleted files that had no row."""
        self._count("file", "unkept", files)

    def _delete(
        self,
        change: Callable[[Connection, Sequence[UUID], int], Deletion],
        ids: Sequence[UUID],
        reason: str,
    ) -> Deletion:
        self.finish()
        deletion = self._journal.write_now(
            lambda connection: change(connection, ids, undelivered_from(connection, self._sinks)),
            patient=True,
        )
        logger.debug("%s by %s: %s", change.__name__, reason, [str(id_) for id_ in deletion.ids])
        self._not_unlinked += [(file, reason) for file in deletion.files]
        self.finish()
        return deletion

    def _count(self, kind: str, reason: str, number: int) -> None:
        self.deleted[kind, reason] += number
        self._metrics.deleted.labels(kind, reason).inc(number)
