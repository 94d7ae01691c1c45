"""A simulated PLC, a station, and a real service with its archive."""

import asyncio
import random

import httpx
import pytest
from pymodbus.client import AsyncModbusTcpClient

from service.client import AsyncClient
from service.station.commissioning import check_station
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage
from service.station.machine.states import Command, State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.layout import PLC_WRITES, WordOrder, encode
from service.station.plc.modbus_map import INPUTS
from service.station.settings import ModbusClientSettings
from service.station.simulating import SimulatedPlc, SimulatorSettings
from service.station.simulating.links import ServerLink
from service.station.spool import SpoolLimits
from tests.service.station.plant import Plant, check, until, until_ready
from tests.service.station.process import running, until_outputs, write_station_file
from tests.service.station.proxy import Proxy


@pytest.mark.parametrize(("recipe", "verdict"), [(1, Verdict.OK), (2, Verdict.NG)])
def test_parts_are_triggered_inspected_told_and_archived(
    tmp_path, served, image, first, recipe, verdict
):
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        async with plant.station() as station:
            report = await plant.plc(station, parts=10, recipe=recipe, first_number=first).run()
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [verdict] * 10
    assert {archived[number].origin for number in report.part_ids} == {"line"}


def test_hundreds_of_triggers_with_delays_drops_and_restarts_mix_up_no_part(
    tmp_path, served, image, first
):
    plant = Plant(tmp_path, served.url, image, silent_after_ms=500)
    behaviour = {
        "parts": 200, "max_delay_ms": 5, "drops_early": 0.05, "acks_late": 0.2, "restarts": 0.005,
    }  # fmt: skip

    async def scenario():
        async with plant.station() as station:
            report = await plant.plc(station, first_number=first, seed=7, **behaviour).run()
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert len(report.verdicts) > 150
    assert list(report.verdicts.values()).count(Verdict.OK) > 100
    assert Verdict.NG not in report.verdicts.values()


def test_a_plc_that_is_the_server_with_delays_and_restarts_mixes_up_no_part(
    tmp_path, served, image, first
):
    """The station is the Modbus client: each restart loses the PLC's registers and connection."""
    behaviour = {
        "parts": 60, "max_delay_ms": 10, "drops_early": 0.05, "acks_late": 0.2, "restarts": 0.01,
    }  # fmt: skip

    async def scenario():
        settings = ModbusClientSettings(host="127.0.0.1", reconnect_ms=20)
        link = ServerLink(settings, port=0)
        await link.open()
        door = {"host": "127.0.0.1", "port": link.port, "reconnect_ms": 20}
        plant = Plant(tmp_path, served.url, image, silent_after_ms=500, plc={"modbus_client": door})
        async with plant.station() as station:
            settings = SimulatorSettings(first_number=first, seed=5, **behaviour)
            report = await SimulatedPlc(link, settings, plant.expose).run()
            await until(lambda: not (station.image.buffered or station.image.busy), "idle")
            await until(lambda: all(part.is_archived for part in station._spool.parts), "archive")
        return plant, report, await plant.archived()

    plant, report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert len(report.verdicts) > 40
    assert list(report.verdicts.values()).count(Verdict.OK) > 30
    assert Verdict.NG not in report.verdicts.values()


def test_a_service_that_is_away_makes_parts_undecided_and_gets_them_later(
    tmp_path, served, image, first
):
    plant = Plant(tmp_path, served.url, image, fail_safe="REVIEW")

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening() as url, plant.station(url) as station:
            ready = await plant.plc(station, parts=1, first_number=first).run()
            assert list(ready.verdicts.values()) == [Verdict.OK]
            proxy.go()
            report = await plant.plc(station, parts=5, first_number=first + 1).run()
            assert station.image.result.fail_safe is FailSafe.REVIEW
            assert station.waiting == 5
            proxy.is_away = False
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [Verdict.UNDECIDED] * 5
    for number in report.verdicts:
        row = archived[number]
        assert (row.told_reason, row.found, row.origin) == ("service-away", "OK", "late")
        assert row.answer["views"][0]["image"]["sha256"] == plant.sha256(number)


def test_an_answer_after_the_deadline_does_not_change_what_the_line_was_told(
    tmp_path, served, image, first
):
    times = {"takt_ms": 1_200, "reserve_ms": 200, "ack_timeout_ms": 60_000}
    plant = Plant(tmp_path, served.url, image, times=times)

    async def scenario():
        proxy = Proxy(served.url)
        async with proxy.listening() as url, plant.station(url) as station:
            await until_ready(station)
            proxy.delay_s = 3.0
            report = await plant.plc(station, parts=2, first_number=first).run()
            proxy.delay_s = 0.0
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [Verdict.UNDECIDED] * 2
    for number in report.verdicts:
        assert (archived[number].told_reason, archived[number].found) == ("deadline", "OK")


@pytest.mark.parametrize(
    ("spoil", "verdict", "reason"),
    [
        (lambda image, number: None, Verdict.UNDECIDED, "camera-silent"),
        (lambda image, number: image(seed=1), Verdict.INPUT_PROBLEM, "input-problem: image-frozen"),
        (lambda image, number: b"text", Verdict.INPUT_PROBLEM, "input-problem: image-unreadable"),
    ],
)
def test_a_camera_that_fails_never_makes_a_part_ok(
    tmp_path, served, image, first, spoil, verdict, reason
):
    """The service calls the frozen image OK; the line is told INPUT_PROBLEM."""
    plant = Plant(tmp_path, served.url, image, silent_after_ms=500)
    plant.content = lambda number: spoil(image, number)

    async def scenario():
        async with plant.station() as station:
            report = await plant.plc(station, parts=3, first_number=first).run()
            await until(lambda: station.waiting == 0, "empty spool")
        return report, await plant.archived()

    report, archived = asyncio.run(scenario())
    assert (report.problems, report.missing) == ([], set())
    later = sorted(report.verdicts)[1:]
    assert [report.verdicts[number] for number in later] == [verdict] * 2
    for number in later:
        assert (archived[number].told, archived[number].told_reason) == ("UNDECIDED", reason)


def test_rubbish_in_every_register_harms_no_later_part(tmp_path, served, image, first):
    """Random registers are commands, too; the PLC then resets what they did."""
    dice = random.Random(5)
    plant = Plant(tmp_path, served.url, image, silent_after_ms=100)

    async def scenario():
        async with plant.station() as station:
            await until_ready(station)
            async with AsyncModbusTcpClient("127.0.0.1", port=station.door.port) as client:
                for _ in range(500):
                    words = [dice.choice([0, 1, 2, dice.randrange(2**16)]) for _ in range(INPUTS)]
                    await client.write_registers(0, words)
                    await asyncio.sleep(0)
                await client.write_registers(0, [0] * INPUTS)
                await until(lambda: station.image.ack_command == 0, "the end of a command")
                await client.write_registers(0, [0, 0, Command.RESET])
                await until(lambda: station.image.ack_command == Command.RESET, "the command")
                await client.write_registers(0, [0] * INPUTS)
                await until(lambda: not station.image.busy, "the end of the part")
                taken = dict(station._spool._parts)
                await client.write_register(0, 0b1001)  # the buffer drains
                while station.image.buffered:
                    await client.write_register(0, 0b1101)
                    await asyncio.sleep(0.005)
                    await client.write_register(0, 0b1001)
                    await asyncio.sleep(0.005)
            clean = Plant(tmp_path, served.url, image).plc(station, parts=5, first_number=first)
            report = await clean.run()
            await until(lambda: station.waiting == 0, "empty spool")
        return taken, report, await plant.archived()

    taken, report, archived = asyncio.run(scenario())
    check(plant, report, archived)
    assert list(report.verdicts.values()) == [Verdict.OK] * 5
    assert {part.trigger_number for part in taken.values()} <= archived.keys()
    for part in taken.values():
        assert archived[part.trigger_number].told != "OK"  # there was no image


def test_a_flood_of_triggers_takes_only_parts_for_which_the_station_was_ready(
    tmp_path, served, image, first
):
    plant = Plant(tmp_path, served.url, image, silent_after_ms=100)

    async def scenario():
        async with plant.station() as station:
            await until_ready(station)
            async with AsyncModbusTcpClient("127.0.0.1", port=station.door.port) as client:
                for number in range(first, first + 150):
                    for bits in (0b01001, 0b01011):
                        await client.write_registers(0, [bits, 0, 0, 1, 0, number])
                await client.write_register(0, 0b01001)
                assert station.image.missed_trigger
                await until(lambda: not station.image.busy, "the end of the part")
                parts = station._spool.parts
            await until(lambda: all(part.is_archived for part in station._spool.parts), "archive")
        return parts, await plant.archived()

    parts, archived = asyncio.run(scenario())
    assert 1 <= len(parts) <= 8
    for part in parts:
        assert archived[part.trigger_number].told == "UNDECIDED"
    assert len(archived.keys() & range(first, first + 150)) == len(parts)


def test_the_check_names_what_works_and_what_does_not(tmp_path, served, image, first):
    plant = Plant(tmp_path, served.url, image, silent_after_ms=3_000)
    recipes = {1: {"categories": {"top": "bolt"}}, 2: {"categories": {"top": "rust"}}}
    broken = Plant(tmp_path, served.url, image, silent_after_ms=50, recipes=recipes)

    async def scenario():
        async with AsyncClient(served.url) as client:
            checking = asyncio.create_task(check_station(plant.settings, client))
            number = 0
            while not checking.done():  # the camera is asked last
                number += 1
                half = plant.shots / ".half"
                half.write_bytes(image(seed=number))
                half.replace(plant.shots / "0.png")
                await asyncio.sleep(0.05)
            return await checking, await check_station(broken.settings, client)

    sound, unsound = asyncio.run(scenario())
    assert [check for check in sound if not check.is_sound] == []
    assert [check.what.split()[0] for check in sound] == [
        *("service", "recipe", "recipe", "spool", "PLC", "camera")
    ]
    assert [check.what for check in unsound if not check.is_sound] == [
        "recipe 2, category rust",
        "camera top",
    ]
    assert unsound[-1].value.endswith("an image must come whose name is 0.png")


def test_the_check_says_what_to_do_about_a_key_and_a_folder_that_are_missing(tmp_path, image):
    plant = Plant(tmp_path, "http://service", image)
    plant.shots.rmdir()

    async def scenario(status):
        refuses = httpx.MockTransport(lambda _: httpx.Response(status, json={"title": "refused"}))
        async with AsyncClient(plant.url, transport=refuses) as client:
            checks = await check_station(plant.settings, client)
        return {check.what.partition(",")[0]: check for check in checks}

    without, reads = asyncio.run(scenario(401)), asyncio.run(scenario(403))
    assert "MAMBAAD_API_KEY, or name its file in server.api_key_file" in without["recipe 1"].value
    assert "the scope `detect`" in reads["recipe 1"].value
    assert f"make it (mkdir -p {plant.shots})" in without["camera top"].value
    assert not plant.shots.exists()


def test_the_check_of_opcua_says_that_the_key_may_not_read(tmp_path, image):
    door = {"opcua": {"port": 0, "no_security": True, "anonymous": "command"}}
    plant = Plant(tmp_path, "http://service", image, silent_after_ms=20, plc=door)

    async def scenario(status):
        answers = httpx.MockTransport(lambda _: httpx.Response(status, json={"title": "refused"}))
        async with AsyncClient(plant.url, transport=answers) as client:
            checks = await check_station(plant.settings, client)
        return next(check for check in checks if check.what.startswith("PLC"))

    without, away = asyncio.run(scenario(403)), asyncio.run(scenario(404))
    assert not without.is_sound
    assert "needs the scope `read` as well" in without.value
    assert away.is_sound


def test_a_spool_that_cannot_be_written_takes_no_part(tmp_path, served, image, first):
    plant = Plant(tmp_path, served.url, image)

    async def scenario():
        async with plant.station() as station:
            await until_ready(station)
            station._spool._limits = SpoolLimits(min_free_bytes=2**62)
            async with AsyncModbusTcpClient("127.0.0.1", port=station.door.port) as client:
                await client.write_registers(0, [0b00001, 0, 0, 1, 0, first])
                await client.write_registers(0, [0b00011, 0, 0, 1, 0, first])
                await until(lambda: station.image.error_code is ErrorCode.SPOOL_FULL, "error")
            assert station.image.state is State.ERROR
            assert not (station.image.ready or station.image.trigger_ack or station.image.busy)
            assert station.waiting == 0
        return await plant.archived()

    assert first not in asyncio.run(scenario())


def test_a_station_killed_while_busy_latches_an_error_and_the_part_is_undecided(
    tmp_path, served, image, first
):
    port = write_station_file(tmp_path, served.url)
    plant = Plant(tmp_path, served.url, image)

    async def trigger():
        async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
            await client.write_register(0, 0b01001)
            await until_outputs(client, Ready=True)
            image = PlcImage(True, True, buffer_enable=True, trigger_number=first, part_id="last")
            await client.write_registers(0, encode(image, PLC_WRITES, WordOrder.BIG))
            await until_outputs(client, TriggerAck=True, Busy=True)

    async def after():
        async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
            await client.write_registers(0, encode(PlcImage(True), PLC_WRITES, WordOrder.BIG))
            seen = await until_outputs(client, ResultsValid=True)
            await client.write_register(0, 0b10001)
            await until_outputs(client, Error=False)
            await until_outputs(client, Ready=True)
        async with asyncio.timeout(60):
            while first not in (archived := await plant.archived()):
                await asyncio.sleep(0.1)
        return seen, archived[first]

    with running(tmp_path):
        asyncio.run(trigger())
    with running(tmp_path) as process:
        seen, row = asyncio.run(after())
        process.terminate()
        assert process.wait(60) == 0
    assert (seen["Error"], seen["ErrorCode"]) == (True, ErrorCode.UNCLEAN_RESTART)
    assert (seen["State"], seen["Ready"]) == (State.ERROR, False)
    assert (seen["ResultTriggerNumber"], seen["ResultPartId"]) == (first, "last")
    assert (seen["Verdict"], seen["Reason"]) == (Verdict.UNDECIDED, Reason.STATION_RESTARTED)
    assert (row.told, row.told_reason, row.found) == ("UNDECIDED", "station-restarted", None)
