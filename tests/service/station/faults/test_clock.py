"""A station whose wall clock jumps by hours while parts are in work."""

import asyncio

import pytest

from service.station.machine.verdicts import Verdict
from tests.service.station.plant import Plant
from tests.service.station.process import (
    connected,
    outputs,
    running,
    take_result,
    trigger,
    until_outputs,
    write,
    write_station_file,
)

HOUR_S = 3_600
JUMPING_CLOCK = """
import datetime, time
from pathlib import Path

OFFSET = Path({offset!r})

def jumping(real, unit):
    def now():
        return real() + type(unit)(float(OFFSET.read_text()) * unit)
    return now

class JumpingDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=float(OFFSET.read_text()))

time.time, time.time_ns = jumping(time.time, 1.0), jumping(time.time_ns, 10**9)
datetime.datetime = JumpingDatetime
"""


@pytest.fixture
def clock(tmp_path):
    """A file with the offset of the station's wall clock, in seconds."""
    folder = tmp_path / "clock"
    folder.mkdir()
    offset = folder / "offset"
    offset.write_text("0")
    (folder / "sitecustomize.py").write_text(JUMPING_CLOCK.format(offset=str(offset)))
    return offset


def jump(clock, seconds):
    half = clock.with_suffix(".half")
    half.write_text(str(seconds))
    half.replace(clock)


def test_a_wall_clock_that_jumps_by_hours_ends_no_part_early_or_late(
    tmp_path, served, image, first, clock
):
    """Forward, the part is not late; back, a part without an image is UNDECIDED in time all the
    same. The heartbeat goes on, and what the line was told does not change."""
    plant = Plant(tmp_path, served.url, image)
    port = write_station_file(tmp_path, served.url, takt_ms=3_000)
    jumps = (5 * HOUR_S, -5 * HOUR_S, 24 * HOUR_S, 0)

    async def scenario():
        results = {}
        async with connected(port) as client:
            for number, seconds in enumerate(jumps, first):
                await trigger(client, number, f"part-{number}")
                jump(clock, seconds)
                await plant.expose(number)
                results[number] = await take_result(client)
            await trigger(client, first + 10, "without image")
            jump(clock, -3 * HOUR_S)
            results[first + 10] = await take_result(client)
            beat = (await outputs(client))["StationHeartbeat"]
            jump(clock, 0)
            async with asyncio.timeout(5):
                while (await outputs(client))["StationHeartbeat"] == beat:
                    await asyncio.sleep(0.05)
            await write(client)
            await until_outputs(client, Ready=True)
            async with asyncio.timeout(60):
                while not results.keys() <= (rows := await plant.archived()).keys():
                    await asyncio.sleep(0.1)
        return results, rows

    with running(tmp_path, path=(clock.parent,)):
        results, rows = asyncio.run(scenario())
    late = results.pop(first + 10)
    assert late["Verdict"] == Verdict.UNDECIDED
    assert [result["Verdict"] for result in results.values()] == [Verdict.OK] * 4
    for number, result in results.items():
        assert (result["ResultTriggerNumber"], rows[number].told) == (number, "OK")
    assert rows[first + 10].told == "UNDECIDED"
    captured = [rows[number].captured_at for number in results]
    assert (max(captured) - min(captured)).total_seconds() > 20 * HOUR_S, "the clock did not jump"
