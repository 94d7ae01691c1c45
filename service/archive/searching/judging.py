"""Verdicts and holds: appended, never changed; the newest of an inspection stands.

    given = give(connection, inspection_id, NewVerdict(Verdict.GOOD, "Ada (line-3)"))
    add(other_connection, given.judgement)

Nothing here begins or commits a transaction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Table, select, update

from service.archive import store
from service.archive.identifiers import new_id
from service.archive.records import HoldRecord, InspectionRecord, Verdict, VerdictRecord
from service.archive.tables import holds, inspections, verdicts

Judgement: TypeAlias = VerdictRecord | HoldRecord

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """A person's verdict, not appended yet."""

    verdict: Verdict
    author: str
    defect_class: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold or its release, not appended yet."""

    is_held: bool
    author: str
    reason: str | None = None


NewJudgement: TypeAlias = NewVerdict | NewHold


@dataclass(frozen=True, slots=True)
class Given:
    """A judgement that stands, and its inspection; `is_new` if it was appended now."""

    judgement: Judgement
    inspection: InspectionRecord
    is_new: bool


def verdicts_of(connection: Connection, inspection_id: UUID) -> list[VerdictRecord]:
    """Return an inspection's verdicts, the newest first."""
    return [
        VerdictRecord(**{**row, "verdict": Verdict(row["verdict"])})
        for row in _rows(connection, verdicts, inspection_id)
    ]


def holds_of(connection: Connection, inspection_id: UUID) -> list[HoldRecord]:
    """Return an inspection's holds, the newest first."""
    return [HoldRecord(**row) for row in _rows(connection, holds, inspection_id)]


def give(connection: Connection, inspection_id: UUID, new: NewJudgement) -> Given | None:
    """Append a judgement, unless the newest says the same: then a request is repeated.

    Its time is after those of all others, though a clock may have been set back. Returns None if
    the inspection is not there.
    """
    inspection = _locked(connection, inspection_id)
    if inspection is None:
        return None
    earlier: Sequence[Judgement]
    if isinstance(new, NewVerdict):
        earlier = verdicts_of(connection, inspection_id)
    else:
        earlier = holds_of(connection, inspection_id)
    if earlier and asdict(new).items() <= asdict(earlier[0]).items():
        return Given(earlier[0], inspection, is_new=False)
    now = datetime.now(UTC)
    at = max(now, earlier[0].at + _TICK) if earlier else now
    kind = VerdictRecord if isinstance(new, NewVerdict) else HoldRecord
    judgement = kind(event_id=new_id(), inspection_id=inspection_id, at=at, **asdict(new))
    return Given(judgement, _add(connection, inspection, judgement), is_new=True)


def add(connection: Connection, judgement: Judgement) -> InspectionRecord | None:
    """Append a judgement that was given elsewhere, unless it is there.

    They may come in any order. Returns the inspection as it is then; None if it is not there.
    """
    inspection = _locked(connection, judgement.inspection_id)
    return None if inspection is None else _add(connection, inspection, judgement)


def payload_of(judgement: Judgement) -> dict[str, Any]:
    """Return a judgement as JSON values."""
    return {name: _json_value(value) for name, value in asdict(judgement).items()}


def _add(
    connection: Connection, inspection: InspectionRecord, judgement: Judgement
) -> InspectionRecord:
    identifier = inspection.inspection_id
    if isinstance(judgement, HoldRecord):
        store.insert_once(connection, holds, asdict(judgement))
        is_held = holds_of(connection, identifier)[0].is_held
        _set(connection, identifier, is_held=is_held)
        return replace(inspection, is_held=is_held)
    store.insert_once(connection, verdicts, asdict(judgement))
    verdict = verdicts_of(connection, identifier)[0].verdict
    _set(connection, identifier, verdict=verdict)
    return store.recount(connection, inspection, verdict)


def _locked(connection: Connection, inspection_id: UUID) -> InspectionRecord | None:
    return next(iter(store.find_to_change(connection, [inspection_id])), None)


def _set(connection: Connection, inspection_id: UUID, **values: object) -> None:
    condition = inspections.c.inspection_id == inspection_id
    connection.execute(update(inspections).where(condition).values(values))


def _rows(connection: Connection, table: Table, inspection_id: UUID) -> list[dict[str, Any]]:
    query = select(table).where(table.c.inspection_id == inspection_id)
    query = query.order_by(table.c.at.desc(), table.c.event_id.desc())
    return [dict(row) for row in connection.execute(query).mappings()]


def _json_value(value: object) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, StrEnum) else value
