"""Measures the archive with many inspections in it.

    python -m benchmarks.archive search --rows 1000000
    python -m benchmarks.archive search --rows 10000000 --url postgresql://postgres@127.0.0.1/empty

`search` fills a journal (or an empty PostgreSQL), then searches it while 20 inspections a second
are written: `python -m benchmarks.archiving.overhead` measures what the archive costs `/detect`.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import create_engine, text

from benchmarks.archiving.rows import NODE, Made, fill_postgresql, fill_sqlite
from benchmarks.archiving.searching import LIMIT_MS, PROMISED, Times, measure, writing
from benchmarks.loading.claims import Verdict
from benchmarks.loading.results import described
from service.archive import store
from service.archive.migrate import parse_url
from service.archive.records import InspectionRecord
from service.archive.searching.archive import Archive
from service.archive.sqlite_journal import JOURNAL_FILE, SqliteJournal

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

_DEADLINE_S = 60.0
_PACKAGES = ("mambaad-service", "sqlalchemy", "psycopg")


@app.callback()
def commands() -> None:
    """Measure the archive."""


@app.command("search")
def measure_search(
    rows: Annotated[int, typer.Option(min=1000, help="Inspections in the archive.")] = 1_000_000,
    url: Annotated[
        str | None, typer.Option(help="An empty PostgreSQL; by default a journal is measured.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the journal; filled once, then used again.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=20, help="Searches of each kind.")] = 500,
    per_s: Annotated[float, typer.Option(help="Inspections written a second meanwhile.")] = 20.0,
    days: Annotated[float, typer.Option(help="Days that the inspections are spread over.")] = 730.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Fill an archive, search it while inspections are written, and judge each kind of search."""
    with tempfile.TemporaryDirectory(prefix="mambaad-archive-") as temporary:
        place = folder or Path(temporary)
        made, fill_s = _filled(place, url, Made(rows, days))
        with _opened(place, url) as (archive, write), writing(write, per_s) as written:
            times = measure(archive, made, repeats, _tell)
            rate = (len(written) - 1) / (written[-1] - written[0])
        result = _about(url) | {
            "database": "SQLite" if url is None else "PostgreSQL",
            "rows": rows,
            "days": days,
            "database_bytes": _bytes_of(place, url),
            "fill_s": round(fill_s, 1),
            "written_per_s": round(rate, 2),
            "times": {name: asdict(of_kind) for name, of_kind in times.items()},
        }
    verdicts = [_judged(name, times[name], result["database"], rows) for name in PROMISED]
    for name, of_kind in times.items():
        print(f"{name:<36} p50 {of_kind.p50_ms:7.1f}  p95 {of_kind.p95_ms:7.1f} ms")
    for verdict in verdicts:
        print(verdict.text())
    result["verdicts"] = [asdict(verdict) for verdict in verdicts]
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else 1)


def _filled(folder: Path, url: str | None, made: Made) -> tuple[Made, float]:
    """Fill the archive unless it is filled; return what is in it, and the seconds it took."""
    note = folder / "made.json"
    if url is None and note.is_file():
        known = json.loads(note.read_text("utf-8"))
        return Made(known["rows"], known["days"], datetime.fromisoformat(known["end"])), 0.0
    began = time.monotonic()
    if url is None:
        SqliteJournal.open(folder, NODE).close()
        fill_sqlite(folder / JOURNAL_FILE, made, _tell)
        known = {"rows": made.rows, "days": made.days, "end": made.end.isoformat()}
        note.write_text(json.dumps(known), "utf-8")
    else:
        fill_postgresql(url, made, _tell)
    return made, time.monotonic() - began


@contextmanager
def _opened(
    folder: Path, url: str | None
) -> Iterator[tuple[Archive, Callable[[InspectionRecord], object]]]:
    """Open the archive; yields it, and a function that writes an inspection and blocks."""
    journal = SqliteJournal.open(folder, NODE)
    archive = Archive(journal, NODE, url)
    engine = create_engine(parse_url(url)) if url is not None else None

    def write(inspection: InspectionRecord) -> None:
        if engine is None:
            asyncio.run(_record(journal, inspection))
            return
        with engine.begin() as connection:
            store.insert(connection, [inspection])

    try:
        yield archive, write
    finally:
        asyncio.run(archive.close())
        journal.close()
        if engine is not None:
            engine.dispose()


async def _record(journal: SqliteJournal, inspection: InspectionRecord) -> None:
    deadline = asyncio.get_running_loop().time() + _DEADLINE_S
    await journal.record(inspection, deadline)


def _judged(name: str, times: Times, database: str, rows: int) -> Verdict:
    return Verdict(
        f"{database}, {rows:,} rows: {name}: p95 under {LIMIT_MS:g} ms",
        times.p95_ms < LIMIT_MS,
        times.p95_ms,
        LIMIT_MS,
        f"{times.p95_ms:.1f} ms of {times.repeats} searches",
    )


def _about(url: str | None) -> dict[str, Any]:
    """Describe the measurement: time, command, machine and versions."""
    about = described("archive", _PACKAGES)
    about["versions"]["sqlite"] = sqlite3.sqlite_version
    if url is not None:
        about["command"] = about["command"].replace(url, "URL")
        about["versions"]["postgresql"] = _asked(url, "SHOW server_version")
    return about


def _bytes_of(folder: Path, url: str | None) -> int:
    if url is not None:
        return int(_asked(url, "SELECT pg_database_size(current_database())"))
    return sum(file.stat().st_size for file in folder.glob(f"{JOURNAL_FILE}*"))


def _asked(url: str, question: str) -> Any:  # noqa: ANN401 - any value
    engine = create_engine(parse_url(url))
    with engine.connect() as connection:
        answer = connection.execute(text(question)).scalar()
    engine.dispose()
    return answer


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app()
