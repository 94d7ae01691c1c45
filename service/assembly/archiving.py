"""Opens the archive of a service, and closes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.api.inspections.door import InspectionsDoor
from service.archive.media import Media, MediaGone
from service.archive.recording import Recorder
from service.archive.retention import Purger, Retention
from service.archive.searching.archive import Archive
from service.archive.searching.cursors import Cursors, read_key
from service.archive.sqlite_journal import SqliteJournal
from service.delivery.deliveries import Deliveries, deliveries_of
from service.inspection.images.decoding import ImageLimits
from service.inspection.redrawing import Redrawer
from service.settings import Settings
from service.telemetry.metrics import Metrics

ARCHIVE_FOLDER = "archive"


class ArchiveUnusable(ValueError):
    """A setting of the archive, or of a sink, that cannot work."""


@dataclass(frozen=True, slots=True)
class OpenArchive:
    """The archive of a running service, and what uses it."""

    folder: Path
    journal: SqliteJournal
    media: Media
    recorder: Recorder
    door: InspectionsDoor
    retention: Retention
    purger: Purger
    deliveries: Deliveries
    drain_s: float

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver and delete until the block ends; then write what waits, and close."""
        try:
            with self.retention.running():
                await asyncio.to_thread(self.deliveries.start)
                yield
        finally:
            await self.recorder.close()
            # After the last part is recorded, so that it has a chance to be delivered.
            await asyncio.to_thread(self.deliveries.drain, self.drain_s)
            await asyncio.to_thread(self.deliveries.stop)
            await self.door.redrawer.close()
            await self.door.archive.close()
            await asyncio.to_thread(self.journal.close)


def open_archive(settings: Settings, metrics: Metrics) -> OpenArchive | None:
    """Open the archive in the state folder; None without a state folder, or if it is disabled.

    Raises `JournalUnusable` or `ArchiveUnusable`.
    """
    state_dir, archiving = settings.versions.state_dir, settings.archive
    if state_dir is None or not archiving.enabled:
        return None
    folder, node = state_dir / ARCHIVE_FOLDER, archiving.node_name
    sinks = list(settings.delivery.sinks)
    journal = SqliteJournal.open(folder, node, metrics=metrics, max_pending=archiving.max_pending)
    try:
        media = Media(folder / "media", archiving.min_free_bytes, metrics)
        archive = Archive(journal, node, archiving.url)
        redrawer = Redrawer(ImageLimits.of(settings.inspection))
        return OpenArchive(
            folder,
            journal,
            media,
            Recorder(journal, media, archiving, settings.inspection.fail_safe),
            InspectionsDoor(archive, media, Cursors(read_key(folder)), redrawer, node),
            Retention(journal, media, archiving, sinks=sinks, metrics=metrics),
            Purger(journal, media, sinks=sinks, metrics=metrics),
            deliveries_of(settings, journal, metrics, partial(_image_file, media)),
            settings.delivery.drain_s,
        )
    except ValueError as error:
        journal.close()
        raise ArchiveUnusable(str(error)) from error


def _image_file(media: Media, sha256: str, received_at: datetime) -> Path | None:
    """Return the file of an image, if it is kept."""
    try:
        return media.find(sha256, received_at.astimezone(UTC).date())
    except MediaGone:
        return None
