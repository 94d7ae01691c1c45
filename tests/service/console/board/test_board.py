"""The board equals a recount of the journal, whatever was written in which order."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from model.inspection import Decision
from service.archive import store
from service.archive.records import DecisionSource, InspectionRecord, Verdict
from service.archive.sqlite_journal import SqliteJournal
from service.archive.tables import inspections
from service.console.board.board import LAST_PARTS, Place, follow, load, place_of
from service.console.board.feed import LiveFeed
from service.console.board.shifts import Shift, shift_at
from service.console.records import PartState, state_of
from service.identifiers import new_id
from service.inspection.submission import Origin

NOW = datetime(2026, 11, 30, 9, 40, tzinfo=UTC)
SHIFT = Shift(NOW.replace(hour=6, minute=30), NOW.replace(hour=14, minute=30))
NODE = "line-1"


@pytest.fixture
def journal(tmp_path):
    journal = SqliteJournal.open(tmp_path / "archive", NODE)
    yield journal
    journal.close()


def part(chance, **changes):
    told = chance.choice([Decision.OK, Decision.OK, Decision.NG, Decision.UNDECIDED])
    fail_safe = told is Decision.UNDECIDED
    problem = chance.choice(["no-worker-ready", "undecodable-image"]) if fail_safe else None
    reason = chance.choice([None, "input-problem: too dark"]) if fail_safe else None
    record = InspectionRecord(
        new_id(),
        NOW - timedelta(minutes=chance.uniform(0, 400)),
        chance.choice(["bolt", "nut"]),
        told,
        DecisionSource.FAIL_SAFE if fail_safe else DecisionSource.NETWORK,
        node=NODE,
        station=chance.choice([None, "EL-1", "EL-2"]),
        origin=chance.choice([Origin.LINE, Origin.LINE, Origin.LATE, Origin.TEST]),
        found=None if fail_safe else told,
        score=None if fail_safe else chance.random(),
        problem=problem,
        told_reason=reason,
        verdict=chance.choice([None, Verdict.GOOD]),
    )
    return replace(record, **changes)


def write(journal, records):
    async def scenario():
        await asyncio.gather(
            *(journal.record(one, asyncio.get_running_loop().time() + 60) for one in records)
        )

    asyncio.run(scenario())


def check(journal, board):
    """Compare a board with all rows of the journal."""
    with journal.reading() as connection:
        ids = [UUID(str(row.inspection_id)) for row in connection.execute(inspections.select())]
        rows = [one for one in store.find_all(connection, ids) if one.origin is not Origin.TEST]
    expected = {}
    for row in rows:
        expected.setdefault(place_of(row), []).append(row)
    assert set(board.tiles) == set(expected)
    for place, parts in expected.items():
        ordered = sorted(parts, key=lambda one: (one.received_at, one.inspection_id), reverse=True)
        tile = board.tiles[place]
        assert list(tile.parts) == ordered[:LAST_PARTS], place
        counts = Counter()
        for one in parts:
            counts[one.told] += one.repeats if one.received_at >= SHIFT.since else 0
        assert +Counter(tile.counts) == +counts, place
        states = Counter[PartState]()
        for one in parts:
            states[state_of(one)] += one.repeats if one.received_at >= SHIFT.since else 0
        assert +Counter(tile.shown) == +states, place


def test_a_board_is_followed_as_if_it_were_read_again(journal):
    chance = random.Random(1)
    with journal.reading() as connection:
        board = load(connection, NODE, SHIFT)
    assert board.tiles == {}
    written = []
    for _ in range(6):
        new = [part(chance) for _ in range(chance.randrange(1, 40))]
        write(journal, new)
        written += new
        with journal.reading() as connection:
            board = follow(connection, board)
            assert board.number == len(written)
            check(journal, board)
            assert board == replace(load(connection, NODE, SHIFT), tiles=board.tiles)


def test_a_refusal_that_a_retry_replaces_is_counted_once(journal):
    chance = random.Random(2)
    fields = {"station": "EL-1", "category": "nut", "origin": Origin.LINE}
    refused = part(
        chance, told=Decision.UNDECIDED, found=None, score=None, source=DecisionSource.FAIL_SAFE,
        received_at=NOW, **fields,
    )  # fmt: skip
    write(journal, [refused, *(part(chance, **fields) for _ in range(5))])
    with journal.reading() as connection:
        board = load(connection, NODE, SHIFT)
        (stored,) = store.find_all(connection, [refused.inspection_id])
    decided = replace(stored, told=Decision.NG, found=Decision.NG, source=DecisionSource.NETWORK)

    async def retry():
        await journal.update(stored, decided, asyncio.get_running_loop().time() + 60)

    asyncio.run(retry())
    with journal.reading() as connection:
        board = follow(connection, board)
    check(journal, board)
    assert board.tiles[Place(True, "EL-1")].parts[0].told is Decision.NG


def test_a_cursor_names_what_a_browser_has_seen(journal):
    chance = random.Random(3)
    write(journal, [part(chance, station="EL-1", origin=Origin.LINE)])
    with journal.reading() as connection:
        first = load(connection, NODE, SHIFT)
    write(journal, [part(chance, station="EL-2", origin=Origin.LINE)])
    with journal.reading() as connection:
        second = follow(connection, first)
    assert [tile.place.name for tile in second.tiles_after(first.cursor)] == ["EL-2"]
    assert second.tiles_after(second.cursor) == []
    later = replace(second, shift=Shift(SHIFT.until, SHIFT.until + timedelta(hours=8)))
    for other in ("", "x", "line-9:5", f"{second.cursor}0", first.cursor + ":-1"):
        assert len(second.tiles_after(other)) == 2, other
    assert len(later.tiles_after(second.cursor)) == 2


def test_many_browsers_share_one_reader(journal):
    chance = random.Random(4)
    feed = LiveFeed(journal, NODE, [time(6), time(18)], UTC)
    feed.listen()

    async def scenario():
        boards = await asyncio.gather(*(feed.current() for _ in range(5)))
        assert all(board is boards[0] for board in boards)
        record = part(chance, station="EL-1", origin=Origin.LINE, received_at=datetime.now(UTC))
        await journal.record(record, asyncio.get_running_loop().time() + 60)
        async with asyncio.timeout(60):
            while (await feed.current()) is boards[0]:
                await asyncio.sleep(0.01)
        return await feed.current()

    board = asyncio.run(scenario())
    assert [tile.total for tile in board.tiles.values()] == [1]
    drawn = []
    (tile,) = board.tiles.values()
    for _ in range(3):
        feed.html("en", tile, lambda: drawn.append(1) or "<p>")
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("moment", "since", "until"),
    [
        ("2026-11-30T05:59:59+01:00", "2026-11-29T22:00:00+01:00", "2026-11-30T06:00:00+01:00"),
        ("2026-11-30T06:00:00+01:00", "2026-11-30T06:00:00+01:00", "2026-11-30T14:00:00+01:00"),
        # The night in which the clock goes back has a shift of nine hours.
        ("2026-10-25T01:30:00+02:00", "2026-10-24T22:00:00+02:00", "2026-10-25T06:00:00+01:00"),
    ],
)
def test_a_shift_begins_by_the_plants_clock(moment, since, until):
    starts = [time(6), time(14), time(22)]
    shift = shift_at(datetime.fromisoformat(moment), starts, ZoneInfo("Europe/Berlin"))
    assert shift == Shift(datetime.fromisoformat(since), datetime.fromisoformat(until))
