"""An archive on disk with a real journal, and parts put into it as inspections put them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, update

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.media import MAP_SUFFIX, Media
from service.archive.positions import save_position
from service.archive.records import DecisionSource, InspectionRecord, ViewRecord
from service.archive.retention.rounds import Retention
from service.archive.sqlite.recording import record_all
from service.archive.sqlite_journal import SqliteJournal
from service.archive.tables import inspections
from service.settings import ArchiveSettings
from service.telemetry.metrics import Metrics

NOW = datetime.now(UTC)
IMAGE_BYTES = 1000
MAP_BYTES = 100


@dataclass(frozen=True)
class Shelf:
    """A journal and its media."""

    folder: Path
    journal: SqliteJournal
    media: Media
    metrics: Metrics

    def retention(self, *, sinks: tuple[str, ...] = (), **settings: object) -> Retention:
        """Return a retention; call its `run`."""
        return Retention(
            self.journal,
            self.media,
            ArchiveSettings(min_free_bytes=0, **settings),
            sinks=sinks,
            metrics=self.metrics,
        )

    def add(self, number: int = 1, **part: object) -> list[UUID]:
        """Put parts with an image and a map each; return their ids."""
        records = [self.part(**part) for _ in range(number)]
        self.journal.write_now(lambda connection: record_all(connection, "line-1", records))
        for record in records:
            for view in record.views:
                for sha256 in (view.image_sha256, view.map_sha256):
                    if sha256:
                        self.media.release(sha256, record.received_at.date())
        return [record.inspection_id for record in records]

    def part(
        self,
        *,
        age_days: float = 0.0,
        told: Decision = Decision.NG,
        content: bytes | None = None,
        with_map: bool = True,
        with_image: bool = True,
        **fields: object,
    ) -> InspectionRecord:
        """Put the files of a part, and return its record."""
        received_at = NOW - timedelta(days=age_days)
        identifier = new_id()
        day = received_at.date()
        view = ViewRecord()
        if with_image:
            content = content or identifier.bytes.ljust(IMAGE_BYTES, b".")
            sha256, state = self.media.put(content, day)
            view = ViewRecord(image_bytes=len(content), image_sha256=sha256, image_state=state)
        if with_map:
            raw_map = identifier.bytes.ljust(MAP_BYTES, b"-")
            sha256, state = self.media.put(raw_map, day, MAP_SUFFIX)
            view = replace(view, map_sha256=sha256, map_state=state)
        return InspectionRecord(
            identifier,
            received_at,
            **{"category": "bolt", **fields},
            told=told,
            source=DecisionSource.NETWORK,
            views=(view,),
        )

    def hold(self, *ids: UUID, is_held: bool = True) -> None:
        statement = update(inspections).where(inspections.c.inspection_id.in_(ids))
        self.journal.write_now(
            lambda connection: connection.execute(statement.values(is_held=is_held))
        )

    def deliver(self, sink: str, number: int) -> None:
        self.journal.write_now(lambda connection: save_position(connection, sink, number))

    def ids(self) -> set[UUID]:
        with self.journal.reading() as connection:
            return set(connection.execute(select(inspections.c.inspection_id)).scalars())

    def find(self, identifier: UUID) -> InspectionRecord:
        with self.journal.reading() as connection:
            record = store.find(connection, identifier)
        assert record is not None
        return record

    def count(self, table: object) -> int:
        with self.journal.reading() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def files(self) -> set[str]:
        return {path.name for path in self.media.folder.rglob("*") if path.is_file()}

    def files_of(self, *ids: UUID) -> set[str]:
        """Return the names of the files that parts made by `add` have."""
        return {
            name
            for identifier in ids
            for name in (
                f"{sha256(identifier.bytes.ljust(IMAGE_BYTES, b'.'))}.bin",
                f"{sha256(identifier.bytes.ljust(MAP_BYTES, b'-'))}.{MAP_SUFFIX}",
            )
        }

    def deleted(self, kind: str, reason: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "mambaad_archive_deleted_total", {"kind": kind, "reason": reason}
        )
        assert value is not None
        return value

    def rounds(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "mambaad_archive_retention_rounds_total", {"outcome": outcome}
        )
        assert value is not None
        return value


@contextmanager
def open_shelf(folder: Path, **media: object) -> Iterator[Shelf]:
    """Open an archive, and close it."""
    metrics = Metrics(CollectorRegistry())
    journal = SqliteJournal.open(folder, "line-1", metrics=metrics)
    try:
        yield Shelf(folder, journal, Media(folder / "media", 0, metrics), metrics)
    finally:
        journal.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
