"""What tests of the delivery record: inspections in a real journal."""

from collections.abc import Sequence
from datetime import UTC, datetime

from model.inspection import Decision
from service.archive.identifiers import new_id
from service.archive.journal import Recorded
from service.archive.records import DecisionSource, InspectionRecord, MediaState, ViewRecord
from service.archive.sqlite.recording import record_all
from service.archive.sqlite_journal import SqliteJournal

NODE = "line-1"


def inspection(**changes: object) -> InspectionRecord:
    """Return an inspection with everything that one may have."""
    view = ViewRecord(
        filename="front.png",
        width=300,
        height=300,
        image_bytes=3000,
        image_sha256="ab" * 32,
        image_state=MediaState.KEPT,
        map_sha256="ac" * 32,
        map_state=MediaState.KEPT,
        found=Decision.NG,
        score=0.99,
        raw_score=5.5,
        threshold=2.4,
        regions=[{"x": 0, "y": 174, "width": 300, "height": 126, "peak": {"x": 40, "y": 205}}],
        timings_ms={"decode": 1.4, "total": 31.5},
        engine="torch, float32",
    )
    values: dict[str, object] = {
        "inspection_id": new_id(),
        "received_at": datetime.now(UTC),
        "captured_at": datetime.now(UTC),
        "category": "bolt",
        "told": Decision.NG,
        "source": DecisionSource.NETWORK,
        "part_id": "4711",
        "station": "press 1",
        "job_id": "7",
        "meta": {"exposure_ms": 40},
        "found": Decision.NG,
        "score": 0.99,
        "raw_score": 5.5,
        "threshold": 2.4,
        "review_threshold": 2.0,
        "model_name": "parts",
        "model_version": "1",
        "model_sha256": "cd" * 32,
        "calibration_version": "1",
        "request_id": "r1",
        "caller": "line-1",
        "views": (view,),
    }
    return InspectionRecord(**{**values, **changes})


def record(journal: SqliteJournal, inspections: Sequence[InspectionRecord]) -> list[Recorded]:
    """Record inspections in one commit."""
    outcomes = journal.write_now(lambda connection: record_all(connection, NODE, inspections))
    assert all(isinstance(outcome, Recorded) for outcome in outcomes)
    return outcomes


def parts(count: int, stations: int = 3, **changes: object) -> list[InspectionRecord]:
    """Return inspections whose `part_id` counts them, at several stations in turn."""
    return [
        inspection(part_id=str(number), station=f"press {number % stations}", **changes)
        for number in range(count)
    ]
