"""A PLC that breaks the handshake, at the registers of a station with a real service."""

import asyncio
import random
import time

import pytest
from pymodbus.exceptions import ModbusException

from service.station.machine.faults import ErrorCode
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Verdict
from service.station.plc.modbus_map import INPUTS, REGISTERS
from tests.service.station.plant import Plant, until, until_ready
from tests.service.station.process import (
    clear_errors,
    connected,
    outputs,
    take_result,
    trigger,
    until_outputs,
    write,
)
from tests.service.station.proxy import Proxy


@pytest.fixture
def play(tmp_path, served, image):
    """Run a PLC's part against a Ready station; return its result, and the archive's rows."""

    def run(scenario, **settings):
        plant = Plant(tmp_path, served.url, image, **settings)

        async def work():
            async with plant.station() as station:
                await until_ready(station)
                async with connected(station.door.port) as client:
                    seen = await scenario(plant, station, client)
                await until(lambda: station.waiting == 0, "empty spool")
            return seen, await plant.archived()

        return asyncio.run(work())

    return run


def test_a_trigger_that_falls_before_its_ack_is_an_error_and_the_part_is_inspected(play, first):
    async def scenario(plant, station, client):
        await write(client)
        await until_outputs(client, Ready=True)
        await write(client, trigger=True, trigger_number=first, part_id="short")
        await write(client, trigger_number=first)
        await until_outputs(client, ErrorCode=ErrorCode.TRIGGER_DROPPED)
        await plant.expose(first)
        seen = await take_result(client)
        assert not station.image.trigger_ack
        await clear_errors(client)
        return seen

    seen, archived = play(scenario)
    assert (seen["ResultTriggerNumber"], seen["ResultPartId"]) == (first, "short")
    assert (seen["Verdict"], archived[first].told) == (Verdict.OK, "OK")


def test_a_result_without_acknowledgement_is_an_overrun_and_is_archived(play, first):
    times = {"takt_ms": 20_000, "reserve_ms": 1_000, "ack_timeout_ms": 200}

    async def scenario(plant, station, client):
        await trigger(client, first, expose=plant.expose)
        seen = await until_outputs(client, Overrun=True, ResultsValid=True)
        await until(lambda: station._spool.parts[0].is_archived, "archived part")
        assert station.image.error_code is ErrorCode.OVERRUN
        assert (await outputs(client))["ResultTriggerNumber"] == first  # it stays
        await take_result(client)
        return seen

    seen, archived = play(scenario, times=times)
    assert (seen["Verdict"], archived[first].told) == (Verdict.OK, "OK")


def test_a_result_acknowledged_twice_takes_no_other_with_it(play, first):
    async def scenario(plant, station, client):
        results = []
        for number in (first, first + 1):
            await trigger(client, number, f"part-{number}", plant.expose)
        await until_outputs(client, Buffered=2)
        await write(client, results_ack=True)
        await until_outputs(client, ResultsValid=False)
        for ack in (False, True, False):  # the second acknowledgement has no result
            await write(client, results_ack=ack)
        while (await outputs(client))["Buffered"]:
            results.append(await take_result(client))
        return results

    results, archived = play(scenario)
    assert [result["ResultTriggerNumber"] for result in results] in ([first + 1], [])
    assert {archived[number].told for number in (first, first + 1)} == {"OK"}


def test_number_and_part_id_changed_while_busy_change_no_result(play, first):
    async def scenario(plant, station, client):
        await trigger(client, first, "right")
        for number in range(20):
            await write(client, trigger_number=first + 500 + number, part_id=f"wrong-{number}")
        assert station.image.busy
        await plant.expose(first)
        return await take_result(client)

    seen, archived = play(scenario)
    assert (seen["ResultTriggerNumber"], seen["ResultPartId"]) == (first, "right")
    assert archived[first].part_id == "right"
    assert not archived.keys() & range(first + 500, first + 520)


@pytest.mark.parametrize("moment", ["trigger held", "busy", "result shown", "result acknowledged"])
def test_a_plc_that_restarts_in_a_handshake_gets_each_result_once_and_the_next(play, first, moment):
    """The restarted PLC has no memory and a new connection; its registers are 0 at first."""

    async def scenario(plant, station, client):
        await write(client)
        await until_outputs(client, Ready=True)
        await write(client, trigger=True, trigger_number=first, part_id="before")
        await until_outputs(client, TriggerAck=True)
        if moment != "trigger held":
            await write(client)
        await plant.expose(first)
        if moment.startswith("result"):
            await until_outputs(client, ResultsValid=True)
        if moment == "result acknowledged":
            await write(client, results_ack=True)
            await until_outputs(client, ResultsValid=False)
        client.close()
        async with connected(station.door.port) as restarted:
            await restarted.write_registers(0, [0] * INPUTS)
            await write(restarted)
            results = []
            if moment != "result acknowledged":
                results.append(await take_result(restarted))
            await trigger(restarted, first + 1, "after", plant.expose)
            return [*results, await take_result(restarted)]

    results, archived = play(scenario)
    parts = [(result["ResultTriggerNumber"], result["ResultPartId"]) for result in results]
    expected = [(first, "before"), (first + 1, "after")]
    assert parts == (expected[1:] if moment == "result acknowledged" else expected)
    assert [archived[number].told for number in (first, first + 1)] == ["OK", "OK"]


def test_seconds_of_rubbish_in_and_beyond_all_registers_end_nothing(play, first):
    """Random words at random addresses, by every function; then the PLC is sound again."""
    dice = random.Random(11)

    async def scribble(client):
        address = dice.choice([dice.randrange(REGISTERS + 40), dice.randrange(2**16 - 130)])
        words = [dice.choice([0, 1, 2, dice.randrange(2**16)]) for _ in range(dice.randint(1, 60))]
        match dice.randrange(5):
            case 0:
                await client.write_register(address, words[0])
            case 1:
                await client.write_coils(address, [True] * len(words))
            case 2:
                await client.mask_write_register(
                    address=address, and_mask=words[0], or_mask=words[-1]
                )
            case 3:
                await client.readwrite_registers(
                    read_address=address, read_count=1, write_address=address, values=words
                )
            case _:
                await client.write_registers(dice.choice([0, address]), words)

    async def scenario(plant, station, client):
        ends, written = time.monotonic() + 3, 0
        while time.monotonic() < ends:
            try:
                await scribble(client)
            except ModbusException:
                raise AssertionError("the door no longer answers") from None
            written += 1
        await client.write_registers(0, [0] * INPUTS)
        await until_outputs(client, AckCommand=0)
        await client.write_registers(0, [1, 0, Command.RESET])  # also ends a part in work
        await until_outputs(client, AckCommand=Command.RESET)
        await client.write_registers(0, [0] * INPUTS)
        await write(client)
        while (await outputs(client))["Buffered"]:
            await take_result(client)
        await clear_errors(client)
        await until_ready(station)
        await trigger(client, first, "sound", plant.expose)
        return written, await take_result(client)

    (written, seen), archived = play(scenario, silent_after_ms=200)
    assert written > 100
    assert (seen["ResultTriggerNumber"], seen["Verdict"]) == (first, Verdict.OK)
    assert archived[first].told == "OK"


def test_a_hundred_connections_change_no_result_of_the_plc_that_works(play, first):
    async def scenario(plant, station, client):
        writers, results = [], []
        for number in range(first, first + 10):
            for _ in range(10):
                _, writer = await asyncio.open_connection("127.0.0.1", station.door.port)
                writers.append(writer)
                await outputs(client)  # a PLC is never silent for long
            await trigger(client, number, f"part-{number}", plant.expose)
            results.append(await take_result(client))
        assert station.door.clients <= 4
        for writer in writers:
            writer.close()
        return [result["ResultPartId"] for result in results]

    seen, archived = play(scenario)
    assert seen == [f"part-{number}" for number in range(first, first + 10)]
    assert {archived[number].told for number in range(first, first + 10)} == {"OK"}


def test_a_plc_whose_connection_is_half_open_takes_ready_off_until_it_is_back(play, first):
    """No byte arrives and nobody closes: only the heartbeat tells."""
    times = {"takt_ms": 20_000, "reserve_ms": 1_000, "plc_timeout_ms": 300}

    async def beat(client, condition):
        beats = 0
        while not condition():
            beats += 1
            await write(client, heartbeat=beats)
            await asyncio.sleep(0.02)

    async def scenario(plant, station, client):
        proxy = Proxy(f"http://127.0.0.1:{station.door.port}")
        async with proxy.listening() as url, connected(int(url.rpartition(":")[2])) as far:
            await beat(far, lambda: station.image.ready)
            proxy.swallows = True
            with pytest.raises(ModbusException):
                await write(far, trigger=True, trigger_number=first)
            await until(lambda: not station.image.ready, "Ready off")
        assert not (station.image.busy or station.image.missed_trigger)
        await beat(client, lambda: station.image.ready)
        return station.image.state

    state, archived = play(scenario, times=times)
    assert state is State.READY
    assert first not in archived


@pytest.mark.parametrize("recipe", [9, 65_535, 0])
def test_a_recipe_that_does_not_exist_fails_and_no_part_is_taken(play, first, recipe):
    async def scenario(plant, station, client):
        await write(client, command=Command.PREPARE_RECIPE, recipe=recipe)
        seen = await until_outputs(client, AckCommand=Command.PREPARE_RECIPE)
        await write(client)
        await write(client, trigger=True, trigger_number=first)
        await until_outputs(client, MissedTrigger=True)
        await write(client)
        return seen

    seen, archived = play(scenario)
    assert (seen["CommandResult"], seen["ErrorCode"]) == (
        CommandResult.FAILED,
        ErrorCode.UNKNOWN_RECIPE,
    )
    assert (seen["Ready"], seen["ActiveRecipe"]) == (False, 0)
    assert first not in archived


@pytest.mark.parametrize("category", ["no-such-part", "rust"])
def test_a_category_that_the_service_does_not_have_fails_the_recipe(play, first, category):
    """It never had the one; the other's checkpoint is damaged, so it might come in time."""

    async def scenario(plant, station, client):
        await write(client, command=Command.PREPARE_RECIPE, recipe=2)
        seen = await until_outputs(client, CommandResult=CommandResult.FAILED)
        await write(client)
        assert (await outputs(client))["State"] == State.INITIALIZED
        return seen

    recipes = {1: {"categories": {"top": "bolt"}}, 2: {"categories": {"top": category}}}
    times = {"takt_ms": 20_000, "prepare_timeout_ms": 1_000}
    seen, archived = play(scenario, recipes=recipes, times=times)
    assert (seen["ErrorCode"], seen["Ready"]) == (ErrorCode.RECIPE_FAILED, False)
    assert first not in archived
