"""A station killed with -9 between two of its steps, and started again on its spool."""

import asyncio
import subprocess

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.verdicts import Reason, Verdict
from service.station.spool import Spool, SpoolLimits
from tests.service.live import ROOT
from tests.service.station.plant import Plant, until
from tests.service.station.process import (
    clear_errors,
    command,
    connected,
    kill,
    outputs,
    running,
    take_result,
    trigger,
    until_outputs,
    write,
    write_station_file,
)
from tests.service.station.proxy import Proxy

QUICK_MS = 2_000


async def archived_row(plant, number):
    async with asyncio.timeout(60):
        while number not in (rows := await plant.archived()):
            await asyncio.sleep(0.1)
    return rows[number]


def test_a_station_killed_between_told_and_archived_posts_what_it_told(
    tmp_path, served, image, first
):
    """One result is acknowledged, the other waits: it comes again, and says the same."""
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening() as url:
            port = write_station_file(tmp_path, url, takt_ms=QUICK_MS)
            with running(tmp_path) as process:
                async with connected(port) as client:
                    await write(client)
                    await until_outputs(client, Ready=True)
                    proxy.go()
                    await trigger(client, first, "taken", plant.expose)
                    taken = await take_result(client)
                    await trigger(client, first + 1, "shown", plant.expose)
                    shown = await until_outputs(client, ResultsValid=True)
                    kill(process)
            proxy.is_away = False
            with running(tmp_path):
                async with connected(port) as client:
                    await write(client)
                    again = await take_result(client)
                    await until_outputs(client, Ready=True)
                    rows = [await archived_row(plant, number) for number in (first, first + 1)]
        return taken, shown, again, rows

    taken, shown, again, rows = asyncio.run(scenario())
    assert [result["ResultPartId"] for result in (taken, shown, again)] == [
        *("taken", "shown", "shown")
    ]
    for result in (taken, shown, again):
        assert (result["Verdict"], result["Reason"]) == (Verdict.UNDECIDED, Reason.SERVICE_AWAY)
        assert result["ErrorCode"] != ErrorCode.UNCLEAN_RESTART  # no part was in work
    for number, row in zip((first, first + 1), rows, strict=True):
        assert (row.told, row.told_reason, row.found) == ("UNDECIDED", "service-away", "OK")
        assert row.answer["views"][0]["image"]["sha256"] == plant.sha256(number)


def test_a_station_killed_while_it_posts_leaves_one_row(tmp_path, served, image, first):
    """The service has recorded the part; the station died before it heard so, and posts again."""
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening() as url:
            port = write_station_file(tmp_path, url, takt_ms=QUICK_MS)
            with running(tmp_path) as process:
                async with connected(port) as client:
                    await write(client)
                    await until_outputs(client, Ready=True)
                    proxy.go()
                    await trigger(client, first, "posted", plant.expose)
                    await take_result(client)
                    proxy.delay_s = 60.0  # the answer to the post never comes
                    proxy.is_away = False
                    before = await archived_row(plant, first)
                    kill(process)
            assert [part.trigger_number for part in spooled(tmp_path)] == [first]
            proxy.delay_s = 0.0
            proxy.cut()
            with running(tmp_path) as process:
                images = tmp_path / "station-spool" / "images"
                await until(lambda: not any(images.iterdir()), "empty spool")
                process.terminate()
                process.wait(60)
        return before, (await plant.archived())[first]  # which asserts one row for each number

    before, after = asyncio.run(scenario())
    assert spooled(tmp_path) == []
    assert before.inspection_id == after.inspection_id
    assert (after.told, after.told_reason) == ("UNDECIDED", "service-away")


def spooled(folder):
    spool = Spool.open(folder / "station-spool", SpoolLimits(min_free_bytes=0))
    parts = spool.parts
    spool.close()
    return parts


def test_a_station_killed_with_a_decision_on_its_disk_tells_that_decision(
    tmp_path, served, image, first
):
    """The PLC has not acknowledged it: after the restart it reads the same OK again."""
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        port = write_station_file(tmp_path, served.url)
        with running(tmp_path) as process:
            async with connected(port) as client:
                await trigger(client, first, "decided", plant.expose)
                before = await until_outputs(client, ResultsValid=True)
                kill(process)
        with running(tmp_path):
            async with connected(port) as client:
                await write(client)
                after = await take_result(client)
                await until_outputs(client, Ready=True, Buffered=0)
        return before, after, await archived_row(plant, first)

    before, after, row = asyncio.run(scenario())
    for result in (before, after):
        assert (result["ResultPartId"], result["Verdict"]) == ("decided", Verdict.OK)
        assert result["Error"] is False
    assert (row.told, row.found) == ("OK", "OK")


def test_a_plc_that_holds_its_trigger_through_a_kill_starts_no_second_part(
    tmp_path, served, image, first
):
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        port = write_station_file(tmp_path, served.url)
        held = {"trigger": True, "trigger_number": first, "part_id": "held"}
        with running(tmp_path) as process:
            async with connected(port) as client:
                await write(client)
                await until_outputs(client, Ready=True)
                await write(client, **held)
                await until_outputs(client, TriggerAck=True)
                kill(process)
        with running(tmp_path):
            async with connected(port) as client:
                await write(client, **held)
                interrupted = await until_outputs(client, ResultsValid=True)
                await write(client, results_ack=True, **held)
                await until_outputs(client, ResultsValid=False)
                await clear_errors(client, **held)
                await until_outputs(client, State=State.READY)
                still = await outputs(client)
                await trigger(client, first + 1, "next", plant.expose)
                following = await take_result(client)
        return interrupted, still, following, await archived_row(plant, first)

    interrupted, still, following, row = asyncio.run(scenario())
    assert (interrupted["Verdict"], interrupted["Reason"]) == (
        Verdict.UNDECIDED,
        Reason.STATION_RESTARTED,
    )
    assert (interrupted["State"], interrupted["ErrorCode"]) == (
        State.ERROR,
        ErrorCode.UNCLEAN_RESTART,
    )
    assert (still["Busy"], still["MissedTrigger"], still["TriggerAck"]) == (False, False, False)
    assert (following["ResultPartId"], following["Verdict"]) == ("next", Verdict.OK)
    assert (row.told, row.told_reason) == ("UNDECIDED", "station-restarted")


def test_a_second_station_on_the_spool_of_a_running_one_does_not_start(tmp_path, served):
    write_station_file(tmp_path, served.url)
    with running(tmp_path):
        second = subprocess.run(
            command(tmp_path, "run"), cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
    assert second.returncode == 2
    assert "another station uses it: give each station its own folder" in second.stderr
    assert "Traceback" not in second.stderr
