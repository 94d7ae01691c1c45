"""A journal for tests of the delivery, and inspections to record in it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, select

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.records import DecisionSource, EventKind, InspectionRecord, MediaState, ViewRecord
from service.archive.tables import events, metadata
from service.archive.positions import newest_number


class PlainJournal:
    def __init__(self, path: Path) -> None:
        self.engine = create_engine(f"sqlite:///{path}")

        @event.listens_for(self.engine, "connect")
        def pragma(dbapi, _):
            dbapi.execute("pragma journal_mode=WAL")
            dbapi.execute("pragma busy_timeout=5000")
        metadata.create_all(self.engine)
        self.lock = threading.Lock()
        self.calls = []
        self.stations = {}

    def write_now(self, change, *, patient=False):
        with self.lock:
            with self.engine.begin() as connection:
                before = newest_number(connection)
                done = change(connection)
                after = newest_number(connection)
        if after != before:
            for call in self.calls:
                call(after)
        return done

    @contextmanager
    def reading(self):
        with self.engine.connect() as connection:
            yield connection

    def on_commit(self, call):
        self.calls.append(call)

    def record_all(self, records):
        def change(connection):
            number = newest_number(connection)
            out = []
            for record in records:
                number += 1
                station = self.stations[record.station] = self.stations.get(record.station, 0) + 1
                record = replace(record, number=number, station_number=station, node="line-1")
                store.insert(connection, [record])
                connection.execute(events.insert(), dict(number=number, event_id=record.inspection_id, inspection_id=record.inspection_id, kind="inspection", at=datetime.now(UTC), station=record.station, station_number=station, origin=record.origin.value))
                out.append(record)
            return out
        return self.write_now(change)

    def close(self):
        self.engine.dispose()


def inspection(**changes) -> InspectionRecord:
    view = ViewRecord(
        filename="front.png", width=300, height=300, image_bytes=3000, image_sha256="ab" * 32,
        image_state=MediaState.KEPT, found=Decision.NG, score=0.99, raw_score=5.5, threshold=2.4,
        regions=[{"x": 0, "y": 174, "width": 300, "height": 126, "area_px": 3, "peak": {"x": 4, "y": 2}, "peak_score": 0.9}],
        timings_ms={"total": 31.5},
    )
    values = dict(
        inspection_id=new_id(), received_at=datetime.now(UTC), category="bolt", told=Decision.NG,
        source=DecisionSource.NETWORK, part_id="4711", station="press 1", found=Decision.NG,
        score=0.99, raw_score=5.5, threshold=2.4, model_name="parts", model_version="1",
        model_sha256="cd" * 32, request_id="r1", caller="line-1", views=(view,),
    )
    return InspectionRecord(**{**values, **changes})
