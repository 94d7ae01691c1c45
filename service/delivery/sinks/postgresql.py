"""The sink `postgresql`: the central archive of all nodes, the same rows as in each journal.

Each delivery is one transaction. Repeats change nothing: rows are found by their ids, and roll-ups
count an inspection once. Of a part that was sent to several nodes, one attempt stands here:
`_stands_over`.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError

from service.archive import store
from service.archive.records import (
    DecisionSource,
    Event,
    EventKind,
    HoldRecord,
    InspectionRecord,
    Verdict,
    VerdictRecord,
)
from service.archive.searching import judging
from service.archive.searching.judging import Judgement
from service.cutting import Cutter
from service.delivery.message import Parcel
from service.delivery.sinks.sink import (
    TAKEN,
    Held,
    Outcome,
    Place,
    Reason,
    Refused,
    SinkUnusable,
    Taken,
)
from service.settings.secrets import SecretUnreadable
from service.settings.sinks import PostgresqlSettings

logger = logging.getLogger("service.postgresql")

_MIGRATE = "the database lacks tables or columns: run `mambaad archive migrate`"
_LACKING = frozenset({"42P01", "42703", "3F000"})  # table, column, schema
_LATE = frozenset({"57014", "55P03"})  # statement_timeout, lock_timeout
_DENIED_CLASSES = frozenset({"28", "0P"})
_DENIED = frozenset({"42501", "3D000"})  # privilege; there is no such database
_DENIED_WORDS = ("authentication failed", "no pg_hba.conf entry", "does not exist")
"""Texts of a refused connection, which has no SQLSTATE."""

_WEIGHT = {DecisionSource.FAIL_SAFE: 0, DecisionSource.NETWORK: 1, DecisionSource.CLIENT: 2}

_OF_DATA = (psycopg.DataError, ValueError, TypeError, OverflowError)
"""Errors of values that do not even reach the database."""


class PostgresqlSink:
    """Writes inspections, verdicts and holds through one connection."""

    def __init__(self, name: str, settings: PostgresqlSettings, place: Place) -> None:
        self._settings = settings
        self._open: psycopg.Connection[Any] | None = None
        self._cutter = Cutter(settings.timeout_s, self._descriptor)
        try:
            self._engine = self._made_engine(place)
        except (ArgumentError, ValueError) as error:
            raise SinkUnusable(f"the sink {name}: the url cannot be used: {error}") from error

    def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """Write parcels in one transaction; one that breaks a rule of the data is refused alone."""
        try:
            with self._cutter.limited():
                return self._written(parcels)
        except SecretUnreadable as error:
            return [Held(Reason.NOT_READY, str(error), needs_help=True)]
        except (SQLAlchemyError, psycopg.Error, OSError) as error:
            return [self._held(error)]

    def tend(self) -> Taken | Held | None:
        """Do nothing: the connection is checked before its next use."""
        return None

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()
        self._cutter.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._cutter.cut()

    def _made_engine(self, place: Place) -> Engine:
        timeout_ms = round(1000 * self._settings.timeout_s)
        engine = create_engine(
            make_url(self._settings.url).set(drivername="postgresql+psycopg"),
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": max(2, round(self._settings.timeout_s)),
                "application_name": f"mambaad {place.node}",
                "options": f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}",
                "tcp_user_timeout": timeout_ms,
            },
        )

        @event.listens_for(engine, "do_connect")
        def add_password(_dialect: object, _record: object, _args: object, values: Any) -> None:  # noqa: ANN401
            password = self._settings.password()
            if password is not None:
                values["password"] = password.get_secret_value()

        @event.listens_for(engine, "checkout")
        def keep(connection: psycopg.Connection[Any], *_: object) -> None:
            self._open = connection

        return engine

    def _descriptor(self) -> int | None:
        if self._open is not None:
            with suppress(psycopg.Error):  # closed
                return self._open.fileno()
        return None

    def _written(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        try:
            with self._engine.begin() as connection:
                _write(connection, parcels)
        except StatementError as error:
            if not _is_of_data(error):
                raise
            return self._written_singly(parcels)
        return [TAKEN] * len(parcels)

    def _written_singly(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """Write each parcel in a savepoint, after one of them could not be written."""
        outcomes: list[Outcome] = []
        with self._engine.begin() as connection:
            for parcel in parcels:
                try:
                    with connection.begin_nested():
                        _write(connection, [parcel])
                except StatementError as error:
                    if not _is_of_data(error):
                        raise
                    outcomes.append(Refused(f"{_sqlstate(error) or 'data'}: {_text(error)}"))
                else:
                    outcomes.append(TAKEN)
        return outcomes

    def _held(self, error: Exception) -> Held:
        state, text = _sqlstate(error), _text(error)
        if self._cutter.was_late or state in _LATE:
            return Held(Reason.SILENT, f"no commit within {self._settings.timeout_s:g} s")
        if state in _LACKING:
            return Held(Reason.NOT_READY, f"{_MIGRATE} ({text})", needs_help=True)
        is_denied = state in _DENIED or (state or "")[:2] in _DENIED_CLASSES
        if is_denied or (state is None and any(words in text for words in _DENIED_WORDS)):
            return Held(Reason.DENIED, text, needs_help=True)
        if state is None or state.startswith(("08", "57")):
            return Held(Reason.UNREACHABLE, text)
        return Held(Reason.BUSY, f"{state}: {text}")


def _write(connection: Connection, parcels: Sequence[Parcel]) -> None:
    """Write inspections, then verdicts and holds, which need theirs."""
    by_id = {
        parcel.inspection.inspection_id: parcel.inspection
        for parcel in parcels
        if parcel.inspection is not None
    }
    _upsert(connection, list(by_id.values()))
    for parcel in parcels:
        judgement = _judgement_of(parcel.event)
        if judgement is not None and judging.add(connection, judgement) is None:
            logger.warning(
                "a %s of inspection %s is left out: no archive has that inspection",
                parcel.event.kind.value, parcel.event.inspection_id,
            )  # fmt: skip


def _upsert(connection: Connection, records: Sequence[InspectionRecord]) -> None:
    """Insert inspections, or replace those that differ; verdicts and holds come as events."""
    plain = [replace(record, verdict=None, is_held=False) for record in records]
    new = store.insert(connection, plain)
    if len(new) == len(plain):
        return
    known = [record for record in plain if record.inspection_id not in new]
    ids = [record.inspection_id for record in known]
    by_id = {before.inspection_id: before for before in store.find_to_change(connection, ids)}
    for record in known:
        before = by_id[record.inspection_id]
        if record.node != before.node and not _stands_over(record, before):
            continue
        after = replace(record, verdict=before.verdict, is_held=before.is_held)
        if after != before:
            store.replace_record(connection, before, after)


def _stands_over(record: InspectionRecord, other: InspectionRecord) -> bool:
    """Whether this node's attempt of a part is the one that the line acted on.

    A client goes on at the next node when it gets no decision. So a decision stands over a refusal,
    the later decision over the earlier, and over both what a client says that the line was told.
    """
    weights = _WEIGHT[record.source], _WEIGHT[other.source]
    if weights[0] != weights[1]:
        return weights[0] > weights[1]
    return record.received_at > other.received_at


def _judgement_of(of_event: Event) -> Judgement | None:
    """Return an event's verdict or hold; None if it is about neither."""
    values = dict(of_event.payload or {})
    if not values:
        return None
    values |= {
        "event_id": of_event.event_id,
        "inspection_id": of_event.inspection_id,
        "at": datetime.fromisoformat(values["at"]),
    }
    if of_event.kind is EventKind.HOLD:
        return HoldRecord(**values)
    return VerdictRecord(**{**values, "verdict": Verdict(values["verdict"])})


def _is_of_data(error: StatementError) -> bool:
    """Whether the data are at fault: SQLSTATE classes 22 and 23, or values no database takes."""
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(("22", "23"))
    return isinstance(error.orig, _OF_DATA)


def _sqlstate(error: BaseException) -> str | None:
    cause = getattr(error, "orig", error)
    state = getattr(cause, "sqlstate", None)
    return str(state) if state else None


def _text(error: BaseException) -> str:
    """Return an error's text in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:500]
