"""The retention's rounds, in a thread: slices of deletions, between which inspections are written.

with Retention(journal, media, settings.archive, sinks=["mes"], metrics=metrics).running():
    ...
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.archive.journal import Journal
from service.archive.media import Media
from service.archive.media.folder import remove_empty_folders
from service.archive.retention.aging import (
    Place,
    due_media,
    oldest_inspections,
    oldest_media,
    oldest_time,
)
from service.archive.retention.calendar import Calendar, ClockJumped
from service.archive.retention.pages import file_size, give_back_pages
from service.archive.retention.slices import SLICE, Slices
from service.archive.retention.sweep import sweep
from service.errors import ServiceError
from service.settings import ArchiveSettings
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.retention")

_MAX_LOOKS = 50
_MAX_MEDIA = 1000
_PAUSE_S = 0.04
_SHORT_PAUSE_S = 0.005
"""Between slices, while more is due than a round can delete with the longer pauses."""
_SWEEP_EVERY_S = 86_400.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Round:
    """How the last round of the retention ended; without `problems` all due was deleted."""

    at: datetime
    problems: Sequence[str]


class Retention:
    """Deletes what the settings no longer allow to be kept; see `service.archive.retention`.

    `sinks` are the names of the configured sinks.
    """

    def __init__(
        self,
        journal: Journal,
        media: Media,
        settings: ArchiveSettings,
        *,
        sinks: Sequence[str],
        metrics: Metrics,
    ) -> None:
        self._journal = journal
        self._media = media
        self._settings = settings
        self._metrics = metrics
        self._slices = Slices(journal, media, sinks=sinks, metrics=metrics)
        self._calendar = Calendar()
        self._stop = threading.Event()
        self._places: dict[str, Place | None] = {}
        self._pause_s = _PAUSE_S
        self._next_sweep_s = 0.0
        self.last_round: Round | None = None
        metrics.media_free_floor.set(settings.min_free_bytes)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run rounds in a thread until the block ends."""
        thread = threading.Thread(target=self._run_rounds, name="retention", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(_STOP_S)

    def run(self) -> bool:
        """Run one round; return whether everything due was deleted. Raises `OSError`."""
        self._slices.deleted.clear()
        blocked: list[str] = []
        self._slices.finish()
        is_done = self._bound_rows(blocked)
        is_done &= self._bound_media(blocked)
        try:
            is_done &= self._delete_old(self._calendar.now())
        except ClockJumped as error:
            blocked.append(str(error))
        give_back_pages(self._journal, self._pause)
        self._sweep_daily()
        while self._slices.days:
            remove_empty_folders(self._media.folder, self._slices.days.pop())
        self._report(blocked)
        return is_done

    def _delete_old(self, now: datetime) -> bool:
        """Delete rows and media that are too old; return whether all of them are."""
        is_done = self._delete_rows("age", now - timedelta(days=self._settings.rows_days))
        floor = self._slices.undelivered_from()
        with self._journal.reading() as connection:
            days = self._settings.media_days
            ids = due_media(connection, floor, now=now, days=days, limit=_MAX_MEDIA)
        return self._delete_media(ids, "age") and is_done

    def _bound_rows(self, blocked: list[str]) -> bool:
        """Delete the oldest rows while the journal has too many bytes."""
        is_done = self._delete_rows("bytes", None)
        if is_done and (excess := self._excess_of_rows()):
            blocked.append(
                f"the journal has {excess} bytes more than MAMBAAD_ARCHIVE__ROWS_BYTES: all "
                "inspections are held, or a sink has not taken them"
            )
        return is_done

    def _delete_rows(self, reason: str, before: datetime | None) -> bool:
        """Delete rows received before a time, or while there are too many bytes.

        Returns False if there are more: the next round goes on at that place.
        """
        for _ in range(_MAX_LOOKS):
            if before is None and not self._excess_of_rows():
                return True
            floor = self._slices.undelivered_from()
            with self._journal.reading() as connection:
                old = oldest_inspections(
                    connection, floor, before=before, after=self._places.get(reason)
                )
            for start in range(0, len(old.ids), SLICE):
                self._slices.delete_inspections(old.ids[start : start + SLICE], reason)
                if self._pause():
                    return False
            self._places[reason] = old.end
            if old.end is None:
                return True
        return False

    def _excess_of_rows(self) -> int:
        with self._journal.reading() as connection:
            return max(0, file_size(connection).used_bytes - self._settings.rows_bytes)

    def _bound_media(self, blocked: list[str]) -> bool:
        """Delete the oldest media while they have too many bytes."""
        excess = self._media.bytes_in_use - self._settings.media_bytes
        if excess <= 0:
            return True
        floor = self._slices.undelivered_from()
        with self._journal.reading() as connection:
            ids = oldest_media(connection, floor, nbytes=excess, limit=_MAX_MEDIA)
        if not ids:
            self._next_sweep_s = min(self._next_sweep_s, time.monotonic())
            blocked.append(
                f"images and raw maps have {excess} bytes more than "
                "MAMBAAD_ARCHIVE__MEDIA_BYTES: all are held, or a sink has not taken them"
            )
        return self._delete_media(ids, "bytes")

    def _delete_media(self, ids: Sequence[UUID], reason: str) -> bool:
        """Delete the files of inspections in slices; return False if there may be more."""
        for start in range(0, len(ids), SLICE):
            self._slices.delete_media(ids[start : start + SLICE], reason)
            if self._pause():
                break
        return len(ids) < _MAX_MEDIA

    def _sweep_daily(self) -> None:
        if time.monotonic() < self._next_sweep_s:
            return
        files = sweep(
            self._journal,
            self._media,
            longest_days=max(self._settings.media_days.values()),
            max_bytes=self._settings.media_bytes,
            pause=self._pause,
        )
        self._slices.count_unkept(files)
        self._next_sweep_s = time.monotonic() + _SWEEP_EVERY_S

    def _report(self, blocked: Sequence[str]) -> None:
        """Log a round that deleted something or could not, and export how the archive stands."""
        deleted = self._slices.deleted
        if deleted.total():
            counts = (
                f"{n} {kind}s ({reason})" for (kind, reason), n in sorted(deleted.items()) if n
            )
            logger.info("the retention deleted %s", ", ".join(counts))
        for line in blocked:
            logger.warning("the retention is blocked: %s", line)
        with self._journal.reading() as connection:
            oldest = oldest_time(connection)
        age_s = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        self._metrics.oldest_inspection.set(age_s)
        self._media.free_bytes()
        self._metrics.retention_rounds.labels("blocked" if blocked else "done").inc()
        self.last_round = Round(datetime.now(UTC), blocked)

    def _pause(self) -> bool:
        """Let others write; return whether to stop."""
        return self._stop.wait(self._pause_s)

    def _run_rounds(self) -> None:
        is_counted, wait_s = False, 0.0
        while not self._stop.wait(wait_s):
            wait_s = self._settings.retention_interval_s
            try:
                if not is_counted:
                    self._media.count()
                    is_counted = True
                is_done = self.run()
                self._pause_s = _PAUSE_S if is_done else _SHORT_PAUSE_S
                if not is_done:
                    wait_s = 0.0
            except (OSError, ServiceError) as error:
                logger.warning("the retention failed, and tries again in %g s: %s", wait_s, error)
                self._fail(str(error))
            except Exception as error:
                logger.exception("the retention failed, and tries again in %g s", wait_s)
                self._fail(type(error).__name__)

    def _fail(self, why: str) -> None:
        self._metrics.retention_rounds.labels("failed").inc()
        self.last_round = Round(datetime.now(UTC), [why])
