"""Databases with the archive's tables, of both kinds, and parts to put into them."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine

from model.inspection import Decision
from service.archive.identifiers import new_id
from service.archive.migrate import upgrade
from service.archive.records import DecisionSource, InspectionRecord
from service.archive.sqlite_journal import SqliteJournal

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)
NODE = "line-1"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with this release's tables."""
    is_sqlite = request.param == "sqlite"
    url = "sqlite://" if is_sqlite else request.getfixturevalue("postgresql_url")
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction."""
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def central_url(postgresql_url: str) -> str:
    """The URL of a PostgreSQL with this release's tables."""
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    return postgresql_url


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    """A node's journal."""
    journal = SqliteJournal.open(tmp_path / "archive", NODE)
    yield journal
    journal.close()


@pytest.fixture
def part() -> Callable[..., InspectionRecord]:
    """Make inspections, each a second later than the last."""
    numbers = itertools.count()

    def make(**fields: Any) -> InspectionRecord:
        number = next(numbers)
        values = {
            "inspection_id": new_id(),
            "received_at": BEGIN + timedelta(seconds=number),
            "category": "bolt",
            "told": Decision.OK,
            "source": DecisionSource.NETWORK,
            "node": NODE,
            "number": number,
            "score": 0.25,
        }
        return InspectionRecord(**(values | fields))

    return make
