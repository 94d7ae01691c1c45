"""Verdicts and holds: appended, never changed; the newest of an inspection stands.

A withdrawn verdict is followed by one that says so, and then none stands.

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
from service.errors import InvalidRequest

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
class Seen:
    """The verdict that stood when a person looked at a part; None if there was none."""

    event_id: UUID | None


@dataclass(frozen=True, slots=True)
class Given:
    """The newest judgement, and its inspection; `is_new` if it was appended now."""

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


def standing(newest_first: Sequence[VerdictRecord]) -> VerdictRecord | None:
    """Return the verdict that stands; None if there is none, or the newest withdraws it."""
    if not newest_first or newest_first[0].verdict is Verdict.WITHDRAWN:
        return None
    return newest_first[0]


def give(
    connection: Connection, inspection_id: UUID, new: NewJudgement, seen: Seen | None = None
) -> Given | None:
    """Append a judgement, unless the newest says the same: then a request is repeated.

    With `seen`, a verdict is appended only if that one still stands. The judgement's time is after
    those of all others, though a clock may have been set back. Returns None if the inspection is
    not there. Raises `InvalidRequest` if there is no verdict to withdraw.
    """
    inspection = _locked(connection, inspection_id)
    if inspection is None:
        return None
    earlier: Sequence[Judgement]
    if isinstance(new, NewVerdict):
        earlier = verdicts_of(connection, inspection_id)
    else:
        earlier = holds_of(connection, inspection_id)
    if earlier and (_repeats(new, earlier[0]) or _has_changed(earlier, seen)):
        return Given(earlier[0], inspection, is_new=False)
    if not earlier and isinstance(new, NewVerdict) and new.verdict is Verdict.WITHDRAWN:
        raise InvalidRequest(
            f"nobody has judged the inspection {inspection_id}: nothing to withdraw"
        )
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
    newest = standing(verdicts_of(connection, identifier))
    verdict = newest.verdict if newest else None
    _set(connection, identifier, verdict=verdict)
    return store.recount(connection, inspection, verdict)


def _repeats(new: NewJudgement, newest: Judgement) -> bool:
    """Return whether a judgement says what the newest one says already."""
    if isinstance(new, NewVerdict) and new.verdict is Verdict.WITHDRAWN:
        return isinstance(newest, VerdictRecord) and newest.verdict is Verdict.WITHDRAWN
    return asdict(new).items() <= asdict(newest).items()


def _has_changed(newest_first: Sequence[Judgement], seen: Seen | None) -> bool:
    """Return whether another verdict stands than the one that a person saw."""
    if seen is None:
        return False
    verdict = standing([one for one in newest_first if isinstance(one, VerdictRecord)])
    return (verdict.event_id if verdict else None) != seen.event_id


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
