"""Fills an archive with many made-up inspections, as fast as its database allows.

    fill_sqlite(folder / "journal.db", Made(rows=10_000_000), print)
    fill_postgresql("postgresql://postgres@127.0.0.1/archive", Made(rows=10_000_000), print)

The inspections are spread evenly over `days`, over 20 stations and 4 categories; 3 % are NG, 1 %
REVIEW, 0.5 % UNDECIDED. Most old reviews have a verdict, and some NG parts.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import psycopg
from sqlalchemy import create_engine

from service.archive.migrate import parse_url, upgrade
from service.archive.store import score_bin
from service.archive.tables import inspections, rollups, views

NODE = "line-1"
STATIONS = [f"EL-{number}" for number in range(20)]
CATEGORIES = ["solar-mono", "solar-poly", "bolt", "gasket"]

_AT_ONCE = 50_000
_HOUR_US = 3_600_000_000
_TOLD = ["OK", "NG", "REVIEW", "UNDECIDED"]
_SHARES = [0.955, 0.03, 0.01, 0.005]
_JUDGED_SHARE = {"OK": 0.0, "NG": 0.2, "REVIEW": 0.99, "UNDECIDED": 0.99}
_MEDIA_DAYS = 30
_MODEL = bytes(32)

Row: TypeAlias = tuple[Any, ...]
Tell: TypeAlias = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Made:
    """Made-up inspections; the last one was received at `end`."""

    rows: int
    days: float = 730.0
    end: datetime = field(default_factory=lambda: datetime.now(UTC))
    seed: int = 0

    @property
    def begin(self) -> datetime:
        """When the first one was received."""
        return self.end - timedelta(days=self.days)

    def part_id(self, number: int) -> str:
        """Return the part id of an inspection, counted from 0."""
        return f"cell-{number:09d}"


@dataclass(slots=True)
class Batch:
    """Rows of `inspections`, `views` and `rollups`, in the order of the tables' columns."""

    inspections: list[Row]
    views: list[Row]
    rollups: list[Row] = field(default_factory=list)


def batches(made: Made) -> Iterator[Batch]:
    """Yield all rows, oldest first; the roll-ups of an hour come once it is complete."""
    random = np.random.default_rng(made.seed)
    parts: Counter[Row] = Counter()
    begin_us, end_us = (int(moment.timestamp() * 1e6) for moment in (made.begin, made.end))
    for start in range(0, made.rows, _AT_ONCE):
        numbers = np.arange(start, min(made.rows, start + _AT_ONCE))
        times = begin_us + ((numbers + 1) * ((end_us - begin_us) / made.rows)).astype(np.int64)
        batch = _batch(made, random, numbers, times, parts)
        last = times[-1] if numbers[-1] + 1 < made.rows else np.inf
        complete = sorted(key for key in parts if key[1] + _HOUR_US <= last)
        batch.rollups = [(*key, parts.pop(key)) for key in complete]
        yield batch


def fill_sqlite(path: Path, made: Made, tell: Tell) -> None:
    """Fill a journal that has tables and no rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    made_by = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    indexes = connection.execute(made_by).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    done = 0
    for batch in batches(made):
        connection.execute("BEGIN")
        connection.executemany(
            _insert(inspections.columns.keys(), "inspections"), batch.inspections
        )
        connection.executemany(_insert(views.columns.keys(), "views"), batch.views)
        connection.executemany(_insert(rollups.columns.keys(), "rollups"), batch.rollups)
        connection.execute("COMMIT")
        done += len(batch.inspections)
        tell(f"{done:,} of {made.rows:,} rows")
    for name, sql in indexes:
        tell(f"index {name}")
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()


def fill_postgresql(url: str, made: Made, tell: Tell) -> None:
    """Make the tables in an empty database and fill them."""
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    with psycopg.connect(
        parse_url(url).set(drivername="postgresql").render_as_string(False)
    ) as database:
        indexes = database.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
            "AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}")
        done = 0
        for batch in batches(made):
            _copy(database, "inspections", batch.inspections)
            _copy(database, "views", batch.views)
            _copy(database, "rollups", batch.rollups)
            database.commit()
            done += len(batch.inspections)
            tell(f"{done:,} of {made.rows:,} rows")
        for name, sql in indexes:
            tell(f"index {name}")
            database.execute(sql)
        database.commit()
        database.autocommit = True
        tell("VACUUM ANALYZE")
        database.execute("VACUUM ANALYZE")


def _batch(
    made: Made,
    random: np.random.Generator,
    numbers: "np.ndarray[Any, Any]",
    times: "np.ndarray[Any, Any]",
    parts: Counter[Row],
) -> Batch:
    count = len(numbers)
    told = random.choice(_TOLD, count, p=_SHARES).tolist()
    stations = random.integers(0, len(STATIONS), count).tolist()
    judged = random.random(count).tolist()
    scores = random.beta(2, 6, count).tolist()
    identifiers = _identifiers(random, times)
    media_since = int((made.end - timedelta(days=_MEDIA_DAYS)).timestamp() * 1e6)
    batch = Batch([], [])
    for place, (number, received) in enumerate(zip(numbers.tolist(), times.tolist(), strict=True)):
        decision, station = told[place], STATIONS[stations[place]]
        category = CATEGORIES[stations[place] % len(CATEGORIES)]
        score = None if decision == "UNDECIDED" else _score(decision, scores[place])
        is_judged = judged[place] < _JUDGED_SHARE[decision]
        verdict = ("defective" if judged[place] < 0.1 else "good") if is_judged else None
        identifier, found = identifiers[place], None if score is None else decision
        batch.inspections.append(
            (
                identifier, NODE, number + 1, number // len(STATIONS), received, received - 50_000,
                "line", category, made.part_id(number), station, f"lot-{number // 5000}",
                '{"exposure_ms": 40}', decision, "network" if found else "fail-safe", None, None,
                found, score, score, 0.5, None, "solar", "3", _MODEL, "1",
                f"request-{number:024d}", "line-3", None if found else "queue-full", None, 1,
                verdict, False,
            )
        )  # fmt: skip
        is_kept = found != "OK" and received > media_since
        state = "kept" if is_kept else "deleted" if found != "OK" else "not-sampled"
        batch.views.append(
            (
                identifier, 0, f"{number}.png", 300, 300, 84_000, _MODEL, state, None, _MODEL,
                state, None, found, score, score, 0.5, None, '{"total": 31.5}', None, None,
                "torch, float32",
            )
        )  # fmt: skip
        hour = received - received % _HOUR_US
        key = (category, hour, NODE, station, decision, verdict or "", score_bin(score), "line")
        parts[key] += 1
    return batch


def _score(decision: str, drawn: float) -> float:
    """Return a score on the decision's side of the threshold."""
    return 0.5 + drawn / 2 if decision == "NG" else drawn / 2


def _identifiers(random: np.random.Generator, times: "np.ndarray[Any, Any]") -> list[bytes]:
    """Return a UUIDv7 for each time in microseconds."""
    content = np.frombuffer(random.bytes(16 * len(times)), np.uint8).reshape(-1, 16).copy()
    milliseconds = (times // 1000).astype(">u8").view(np.uint8).reshape(-1, 8)
    content[:, :6] = milliseconds[:, 2:]
    content[:, 6] = 0x70 | content[:, 6] & 0x0F
    content[:, 8] = 0x80 | content[:, 8] & 0x3F
    flat = content.tobytes()
    return [flat[start : start + 16] for start in range(0, len(flat), 16)]


def _insert(columns: Sequence[str], table: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _copy(database: "psycopg.Connection[Any]", table: str, rows: Sequence[Row]) -> None:
    columns = {"inspections": inspections, "views": views, "rollups": rollups}[table].columns
    with database.cursor().copy(f"COPY {table} ({', '.join(columns.keys())}) FROM STDIN") as copy:
        for start in range(0, len(rows), 1000):
            copy.write("".join(map(_line, rows[start : start + 1000])))


def _line(row: Row) -> str:
    return "\t".join(map(_cell, row)) + "\n"


def _cell(value: Any) -> str:  # noqa: ANN401 - any column
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else rf"\\x{value.hex()}"
    return str(value)
