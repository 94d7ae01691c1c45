"""The door that is a Modbus client, at a PLC that is pymodbus' server."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pydantic import ValidationError
from pyModbusTCP.server import ModbusServer

from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.verdicts import Verdict
from service.station.plc.door import DoorClosed
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, WordOrder, encode
from service.station.plc.modbus_client import ModbusClientDoor
from service.station.plc.modbus_map import INPUTS, OUTPUTS
from service.station.settings import ModbusClientSettings
from service.station.settings.modbus import PLC_REGISTERS, STATION_REGISTERS
from service.station.simulating.links import ServerLink

PART = PlcImage(trigger_enable=True, trigger=True, trigger_number=70_000, part_id="cell-7")
RESULT = StationImage(
    results_valid=True, result=ResultFields(Verdict.NG, trigger_number=70_000, part_id="cell-7")
)
SETTINGS = {"host": "127.0.0.1", "port": 502, "reconnect_ms": 20, "timeout_ms": 300}


class Plc(ServerLink):
    """Remembers each block that the station writes, and can be silent."""

    def __init__(self, settings):
        super().__init__(settings, port=0)
        self.written = []
        self.is_silent = False
        self.reads = 0

    async def _access(self, function, start, address, count, registers, values):
        while self.is_silent:
            await asyncio.sleep(0.01)
        answer = await super()._access(function, start, address, count, registers, values)
        if values is None:
            self.reads += 1
        elif answer is None:
            self.written.append((address, [int(value) for value in values]))
        return answer


@asynccontextmanager
async def opened(**settings):
    """A door at a PLC that has answered it."""
    model = ModbusClientSettings(**{**SETTINGS, **settings})
    plc = Plc(model)
    await plc.open()
    heard = []
    door = ModbusClientDoor(model.model_copy(update={"port": plc.port}), heard.append)
    door.show(StationImage())
    await door.open()
    try:
        await until(lambda: door.clients == 1)
        yield plc, door, heard
    finally:
        await door.close()
        plc.is_silent = False
        await plc.cut()


def run(scenario, **settings):
    async def work():
        async with asyncio.timeout(20), opened(**settings) as parts:
            await scenario(*parts)

    asyncio.run(work())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)


def block(image, order=WordOrder.BIG):
    return encode(image, STATION_WRITES, order)


@pytest.mark.parametrize("order", list(WordOrder))
@pytest.mark.parametrize(("inputs_at", "outputs_at"), [(0, 100), (300, 22), (65_514, 65_481)])
def test_the_door_hears_the_plc_and_shows_it_an_image(order, inputs_at, outputs_at):
    async def scenario(plc, door, heard):
        await plc.write(PART)
        await until(lambda: heard)
        assert heard == [PART]
        assert plc.registers[inputs_at + 4 : inputs_at + 6] == (
            [1, 4464] if order is WordOrder.BIG else [4464, 1]
        )
        door.show(replace(RESULT, results_valid=False))
        door.show(RESULT)
        await until(lambda: plc.registers[outputs_at] & 0b100000)
        assert plc.registers[outputs_at : outputs_at + OUTPUTS] == block(RESULT, order)
        assert {address for address, _ in plc.written} == {outputs_at}

    run(scenario, word_order=order.value, inputs_at=inputs_at, outputs_at=outputs_at)


def test_each_change_of_the_plc_is_heard_once():
    async def scenario(plc, door, heard):
        for count in range(1, 20):
            await plc.write(replace(PART, heartbeat=count))
            await until(lambda count=count: heard and heard[-1].heartbeat == count)
        reads = plc.reads
        await until(lambda: plc.reads > reads + 5)
        assert [image.heartbeat for image in heard] == list(range(1, 20))

    run(scenario)


def test_each_result_is_written_in_steps_that_no_read_of_the_plc_can_tear():
    results = [
        StationImage(results_valid=True, result=ResultFields(Verdict.OK, trigger_number=number))
        for number in range(1, 6)
    ]

    async def scenario(plc, door, heard):
        plc.written.clear()
        for result in results:  # faster than they can be written, and without an image between
            door.show(result)
        await until(lambda: plc.written and plc.written[-1][1] == block(results[-1]))
        before = block(StationImage())
        expected = []
        for result in results:
            if before[0] & 0b100000:
                expected.append([before[0] & ~0b100000, *before[1:]])
            expected += [block(replace(result, results_valid=False)), block(result)]
            before = block(result)
        assert [words for _, words in plc.written] == expected

    run(scenario, valid_off_ms=0)


def test_the_number_that_belongs_to_a_trigger_is_read_after_it():
    """The PLC's registers change while it answers the first read that has the Trigger."""

    async def scenario(plc, door, heard):
        access = plc._access

        async def torn(function, start, address, count, registers, values):
            answer = await access(function, start, address, count, registers, values)
            if values is None and registers[0] & 0b10 and not torn.count:
                torn.count += 1
                registers[4:6] = [0, 16]  # the number of the part before
            return answer

        torn.count = 0
        plc._access = torn
        await plc.cut()
        await plc.open()
        await until(lambda: door.clients == 1)
        await plc.write(PART)
        await until(lambda: any(image.trigger for image in heard))
        assert torn.count == 1
        assert {image.trigger_number for image in heard if image.trigger} == {70_000}

    run(scenario)


def go_away(plc, how):
    async def silent():
        plc.is_silent = True

    return {"cut": plc.cut, "silent": silent, "restart": lambda: plc.cut(forgets=True)}[how]()


@pytest.mark.parametrize("how", ["cut", "silent", "restart"])
def test_a_plc_that_is_away_counts_as_one_without_trigger_enable_and_gets_everything_again(how):
    inputs = replace(PART, buffer_enable=True, results_ack=True, command=2, recipe=1)

    async def scenario(plc, door, heard):
        await plc.write(inputs)
        await until(lambda: heard == [inputs])
        await go_away(plc, how)
        await until(lambda: heard[-1] != inputs)
        assert heard[1:] == [replace(inputs, trigger_enable=False)]
        assert door.clients == 0
        door.show(RESULT)  # several, of which the PLC needs the latest
        door.show(replace(RESULT, heartbeat=7))
        plc.written.clear()
        plc.is_silent = False
        await plc.open()
        await until(lambda: door.clients == 1)
        await until(lambda: len(plc.written) >= 2)
        latest = replace(RESULT, heartbeat=7)
        assert [words for _, words in plc.written] == [
            block(replace(latest, results_valid=False)),
            block(latest),
        ]
        expected = PlcImage() if how == "restart" else inputs
        await until(lambda: heard[-1] == expected)
        assert len(heard) == 3

    run(scenario, valid_off_ms=1)


def test_a_plc_that_comes_later_is_found_and_one_that_never_comes_does_not_hold_the_end():
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        model = ModbusClientSettings(**{**SETTINGS, "port": port})
        heard = []
        door = ModbusClientDoor(model, heard.append)
        await door.open()
        await asyncio.sleep(0.05)
        assert (door.clients, heard) == (0, [])
        plc = ServerLink(model)
        await plc.write(PART)
        await until(lambda: heard == [PART])
        await door.close()
        await plc.cut()
        again = ModbusClientDoor(model, heard.append)
        await again.open()
        await again.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_the_last_image_is_written_before_the_end():
    async def scenario(plc, door, heard):
        door.show(StationImage(online=False))
        await door.close()
        assert plc.written[-1][1] == block(StationImage(online=False))

    run(scenario)


def test_a_plc_that_refuses_the_registers_is_away(caplog):
    async def scenario(plc, door, heard):
        await plc.write(PART)
        await until(lambda: heard == [PART])
        plc._settings = plc._settings.model_copy(update={"outputs_at": 50})
        door.show(RESULT)
        await until(lambda: len(heard) == 2)
        assert heard[-1] == replace(PART, trigger_enable=False)
        await asyncio.sleep(0.1)
        assert [record.getMessage() for record in caplog.records if "away" in record.message] == [
            f"the PLC on {door.address} is away: the PLC refuses writing 33 registers from 100 "
            "(unit 1): exception code 2"
        ]

    run(scenario)


def test_the_check_reads_and_writes_nothing():
    async def scenario(plc, door, heard):
        await plc.write(PART)
        settings = door._settings
        await door.close()
        written = len(plc.written)
        other = ModbusClientDoor(settings, heard.append)
        assert await other.check() == (
            "answers; TriggerEnable 1, Trigger 1, PlcHeartbeat 0, TriggerNumber 70000"
        )
        assert len(plc.written) == written
        wrong = settings.model_copy(update={"outputs_at": 40_000})
        with pytest.raises(DoorClosed, match="refuses reading 33 registers from 40000"):
            await ModbusClientDoor(wrong, heard.append).check()
        await plc.cut()
        with pytest.raises(DoorClosed, match="no connection"):
            await other.check()

    run(scenario)


@pytest.mark.parametrize("order", list(WordOrder))
def test_a_server_that_shares_nothing_with_pymodbus_is_served_alike(order):
    """pyModbusTCP, in threads: the image of a part goes there and its result comes back."""

    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        settings = {**SETTINGS, "port": port, "inputs_at": 10, "word_order": order.value}
        heard = []
        door = ModbusClientDoor(ModbusClientSettings(**settings), heard.append)
        server = ModbusServer("127.0.0.1", port, no_block=True)
        await asyncio.to_thread(server.start)
        try:
            server.data_bank.set_holding_registers(10, encode(PART, PLC_WRITES, order))
            await door.open()
            await until(lambda: heard == [PART])
            door.show(RESULT)
            expected = block(RESULT, order)
            bank = server.data_bank
            await until(lambda: bank.get_holding_registers(100, OUTPUTS) == expected)
            assert await ModbusClientDoor(ModbusClientSettings(**settings), print).check()
            await asyncio.to_thread(server.stop)
            await until(lambda: heard[1:] == [replace(PART, trigger_enable=False)])
        finally:
            await door.close()
            await asyncio.to_thread(server.stop)

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ({"inputs_at": 100, "outputs_at": 121}, "overlap"),
        ({"inputs_at": 132, "outputs_at": 100}, "overlap"),
        ({"inputs_at": 65_515}, "must end at 65535"),
        ({"outputs_at": 65_504}, "must end at 65535"),
    ],
)
def test_blocks_that_overlap_or_have_no_room_are_refused(addresses, message):
    with pytest.raises(ValidationError, match=message):
        ModbusClientSettings(host="plc", **addresses)
    assert (PLC_REGISTERS, STATION_REGISTERS) == (INPUTS, OUTPUTS)
