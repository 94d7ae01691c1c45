"""Reads and writes the rows of the shared state, in the transaction of a connection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, update

from service.shared.document import Place, Relation, SharedState, relation
from service.shared.tables import CHANNEL, changes, states
from service.versions.state import AuditRecord, line_of


class NoState(Exception):
    """The PostgreSQL has no state, or one that this release cannot read."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record of the audit with its number in the PostgreSQL."""

    number: int
    record: AuditRecord


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of one moment; `state` is None if it is the known one.

    `relation` is None if the reader knew none. `records` are the audit's after a number.
    """

    place: Place
    relation: Relation | None
    state: SharedState | None
    records: Sequence[Numbered]


def read(connection: Connection, known: Place | None, after: int) -> Reading:
    """Read what is new since `known` and the audit's number `after`. Raises `NoState`."""
    columns = (states.c.lineage, states.c.generation, states.c.version, states.c.change_id)
    row = connection.execute(select(*columns)).mappings().one_or_none()
    if row is None:
        raise NoState("it has no state: bring one there with `mambaad state import`")
    place = Place(**row)
    kin = None if known is None else relation(known, place, has_known=_has(connection, known))
    if known is not None and place.generation != known.generation:
        after = 0  # numbers of before a restored backup may have been given again
    state = None if kin is Relation.SAME else _document(connection)
    return Reading(place, kin, state, _records(connection, after))


def lock(connection: Connection) -> SharedState | None:
    """Return the state, which no other transaction can change until this one ends."""
    is_there = connection.execute(select(states.c.id).with_for_update()).scalar()
    return None if is_there is None else _document(connection)


def write(connection: Connection, state: SharedState, record: AuditRecord | None) -> None:
    """Write a state and its record, and notify all nodes when the transaction is committed."""
    values = {**state.place.model_dump(), "document": state.model_dump_json()}
    changed = connection.execute(update(states).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(states).values(id=1, **values))
    connection.execute(
        insert(changes).values(
            version=state.place.version,
            change_id=state.place.change_id,
            node=state.node,
            record=None if record is None else line_of(record),
        )
    )
    _notify(connection, str(state.place.version))


def add_records(connection: Connection, records: Iterable[AuditRecord], node: str) -> None:
    """Add records of changes that are no states; none may come between: the state is locked."""
    lines = [{"node": node, "record": line_of(record)} for record in records]
    if lines:
        connection.execute(insert(changes), lines)
        _notify(connection, "audit")


def _notify(connection: Connection, text: str) -> None:
    connection.execute(select(func.pg_notify(CHANNEL, text)))


def _has(connection: Connection, known: Place) -> bool:
    query = select(changes.c.version).where(changes.c.change_id == known.change_id)
    return connection.execute(query).scalar() == known.version


def read_records(connection: Connection) -> list[AuditRecord]:
    """Return the whole audit, the oldest first."""
    return [entry.record for entry in _records(connection, 0)]


def _document(connection: Connection) -> SharedState:
    text = connection.execute(select(states.c.document)).scalar_one()
    try:
        return SharedState.model_validate_json(text)
    except ValidationError as error:
        raise NoState("a newer release wrote its state: update this node") from error


def _records(connection: Connection, after: int) -> list[Numbered]:
    query = (
        select(changes.c.number, changes.c.record)
        .where(changes.c.number > after, changes.c.record.is_not(None))
        .order_by(changes.c.number)
    )
    return [
        Numbered(number, AuditRecord.model_validate_json(text))
        for number, text in connection.execute(query)
    ]
