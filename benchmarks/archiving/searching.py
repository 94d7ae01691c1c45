"""Times searches of a large archive while inspections are written to it."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any, TypeAlias

from sqlalchemy import Connection

from benchmarks.archiving.rows import CATEGORIES, NODE, STATIONS, Made
from model.inspection import Decision
from service.archive.identifiers import new_id
from service.archive.records import DecisionSource, InspectionRecord, ViewRecord
from service.archive.searching.archive import Archive
from service.archive.searching.search import Filter, search
from service.archive.searching.summary import Period, Step, summarise

LIMIT_MS = 100.0
_PAGE = 50

Query: TypeAlias = Callable[[Connection], Any]
Ask: TypeAlias = Callable[[random.Random, Made], Query]


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one kind of search."""

    p50_ms: float
    p95_ms: float
    most_ms: float
    repeats: int


def _moment(draw: random.Random, made: Made) -> datetime:
    return made.begin + (made.end - made.begin) * draw.random()


def _page(wanted: Filter) -> Query:
    return lambda connection: search(connection, wanted, _PAGE)


def _one_part(draw: random.Random, made: Made) -> Query:
    return _page(Filter(part_id=made.part_id(draw.randrange(made.rows))))


def _station(draw: random.Random, made: Made) -> Query:
    return _page(Filter(station=draw.choice(STATIONS), until=_moment(draw, made)))


def _open_reviews(draw: random.Random, made: Made) -> Query:
    return _page(Filter(is_open_review=True, until=_moment(draw, made)))


def _histogram(draw: random.Random, made: Made) -> Query:
    begin = _moment(draw, made)
    period = Period.around(begin, begin + timedelta(days=1), Step.HOUR)
    category = draw.choice(CATEGORIES)
    return lambda connection: summarise(connection, period, category=category)


def _rejected(draw: random.Random, made: Made) -> Query:
    until = _moment(draw, made)
    wanted = Filter(told=Decision.NG, category=draw.choice(CATEGORIES), until=until)
    return _page(wanted)


def _month(draw: random.Random, made: Made) -> Query:
    period = Period.around(made.end - timedelta(days=30), made.end, Step.DAY)
    return lambda connection: summarise(connection, period)


PROMISED: Mapping[str, Ask] = {
    "one part": _one_part,
    "a station's page of 50 by time": _station,
    "open reviews": _open_reviews,
    "one category's histogram for a day": _histogram,
}
OTHERS: Mapping[str, Ask] = {
    "a category's rejected parts": _rejected,
    "all counts of 30 days": _month,
}


def measure(
    archive: Archive, made: Made, repeats: int, tell: Callable[[str], object]
) -> dict[str, Times]:
    """Ask every question so many times, in turn, for random parts and times."""
    asks = {**PROMISED, **OTHERS}
    taken: dict[str, list[float]] = {name: [] for name in asks}
    draw = random.Random(1)

    async def ask_all() -> None:
        for number in range(repeats):
            for name, ask in asks.items():
                query = ask(draw, made)
                began = time.perf_counter()
                await archive.read(query)
                taken[name].append(1000 * (time.perf_counter() - began))
            if (number + 1) % 50 == 0:
                tell(f"{number + 1} of {repeats} rounds")

    asyncio.run(ask_all())
    return {
        name: Times(*(quantiles(ms, n=20)[place] for place in (9, 18)), max(ms), len(ms))
        for name, ms in taken.items()
    }


@contextmanager
def writing(write: Callable[[InspectionRecord], object], per_s: float) -> Iterator[list[float]]:
    """Write inspections at a rate during the block; yields the times of those written."""
    done, written, faults = threading.Event(), list[float](), list[Exception]()

    def run() -> None:
        number = 0
        started = time.monotonic()
        try:
            while not done.wait(max(0.0, started + number / per_s - time.monotonic())):
                write(_inspection(number))
                written.append(time.monotonic())
                number += 1
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=run, name="writing")
    thread.start()
    try:
        yield written
    finally:
        done.set()
        thread.join()
    if faults:
        raise faults[0]


def _inspection(number: int) -> InspectionRecord:
    told = list(Decision)[number % 4]
    return InspectionRecord(
        new_id(),
        datetime.now(UTC),
        CATEGORIES[number % len(CATEGORIES)],
        told,
        DecisionSource.NETWORK,
        node=NODE,
        number=10**9 + number,
        part_id=f"new-{number}",
        station=STATIONS[number % len(STATIONS)],
        found=told,
        score=0.5,
        views=(ViewRecord(filename="new.png", width=300, height=300),),
    )
