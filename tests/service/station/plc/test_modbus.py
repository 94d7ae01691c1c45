"""The Modbus door, driven by pymodbus' client and by mbpoll."""

import asyncio
import re
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from pymodbus.client import AsyncModbusTcpClient

from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.verdicts import Verdict
from service.station.plc.door import DoorClosed
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, WordOrder, encode
from service.station.plc.modbus import ModbusDoor
from service.station.plc.modbus_map import INPUTS, OUTPUTS, OUTPUTS_AT
from service.station.settings import ModbusSettings
from tests.programs import program

IMAGE = StationImage(
    ready=True, result=ResultFields(Verdict.NG, trigger_number=70_000, part_id="cell-7")
)


@asynccontextmanager
async def opened(**settings):
    heard = []
    door = ModbusDoor(ModbusSettings(port=0, **settings), heard.append)
    await door.open()
    try:
        yield door, heard
    finally:
        await door.close()


@asynccontextmanager
async def connected(door):
    client = AsyncModbusTcpClient("127.0.0.1", port=door.port, retries=0, timeout=3)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


async def read(client, address, count):
    return (await client.read_holding_registers(address, count=count)).registers


def test_the_plc_writes_a_block_and_reads_a_block():
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            image = PlcImage(trigger_enable=True, trigger=True, trigger_number=70_000, part_id="a")
            answer = await client.write_registers(0, encode(image, PLC_WRITES, WordOrder.BIG))
            assert not answer.isError()
            assert heard == [image]
            door.show(IMAGE)
            expected = encode(IMAGE, STATION_WRITES, WordOrder.BIG)
            assert await read(client, OUTPUTS_AT, OUTPUTS) == expected
            as_inputs = await client.read_input_registers(OUTPUTS_AT, count=OUTPUTS)
            assert as_inputs.registers == expected
            assert await read(client, 0, INPUTS) == encode(image, PLC_WRITES, WordOrder.BIG)

    asyncio.run(scenario())


def test_bits_can_be_written_alone_by_a_mask():
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            await client.write_register(0, 0b00001)
            await client.mask_write_register(address=0, and_mask=0xFFFD, or_mask=0b00010)
            assert heard[-1] == PlcImage(trigger_enable=True, trigger=True)
            answer = await client.readwrite_registers(
                read_address=0, read_count=2, write_address=1, values=[5]
            )
            assert answer.registers == [0b11, 5]
            assert heard[-1].heartbeat == 5

    asyncio.run(scenario())


def test_each_change_is_heard_in_order():
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            for count in range(200):
                await client.write_register(1, count)
            assert [image.heartbeat for image in heard] == list(range(200))

    asyncio.run(scenario())


@pytest.mark.parametrize("address", [INPUTS, INPUTS - 1, OUTPUTS_AT, OUTPUTS_AT + 5])
def test_what_the_station_writes_cannot_be_written_by_the_plc(address):
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            door.show(IMAGE)
            answer = await client.write_registers(address, [1, 1])
            assert (answer.isError(), answer.exception_code) == (True, 2)
            assert heard == []
            assert (await read(client, OUTPUTS_AT, 1)) == [3]

    asyncio.run(scenario())


def test_coils_and_addresses_beyond_the_blocks_are_refused():
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            assert (await client.read_coils(0, count=1)).exception_code == 1
            assert (await client.write_coil(0, True)).exception_code == 1
            assert (await client.read_holding_registers(5_000, count=2)).exception_code == 2
            assert heard == []

    asyncio.run(scenario())


def test_the_word_order_is_as_set():
    async def scenario():
        async with opened(word_order="little") as (door, heard), connected(door) as client:
            await client.write_registers(4, [0x5678, 0x1234])
            assert heard[-1].trigger_number == 0x12345678

    asyncio.run(scenario())


def test_a_client_that_is_not_allowed_is_refused():
    async def scenario():
        allow = (ip_network("10.0.0.0/8"),)
        async with opened(allow=allow) as (door, heard), connected(door) as client:
            answer = None
            with pytest.raises(Exception, match=r"(?i)connection|no response"):
                answer = await client.write_register(0, 1)
            assert answer is None
            assert heard == []

    asyncio.run(scenario())


def test_a_hundred_connections_do_not_displace_a_plc_that_is_not_silent():
    async def scenario():
        async with opened(max_clients=4) as (door, heard), connected(door) as client:
            writers = []
            for number in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writers.append(writer)
                assert not (await client.write_register(1, number)).isError()
            assert heard[-1].heartbeat == 99
            assert door.clients <= 4
            for writer in writers:
                writer.close()

    asyncio.run(scenario())


def test_bytes_that_are_no_modbus_do_no_harm():
    async def scenario():
        async with opened() as (door, heard), connected(door) as client:
            for rubbish in (
                b"\xff" * 300,
                b"GET / HTTP/1.1\r\n\r\n",
                b"\0\1\0\0\xff\xff\1\3",
                b"\0",
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writer.write(rubbish)
                await writer.drain()
                writer.close()
            assert not (await client.write_register(1, 7)).isError()
            assert heard[-1] == PlcImage(heartbeat=7)

    asyncio.run(scenario())


def test_a_client_that_sends_no_modbus_is_said_with_its_address_and_cut_off(caplog):
    async def scenario():
        async with opened() as (door, _):
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await reader.read() == b""
                writer.close()
            await asyncio.sleep(0)

    asyncio.run(scenario())
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("127.0.0.1 sends no Modbus TCP (47 45 54 20")


def test_requests_that_come_at_once_are_answered_one_after_another():
    """Each is a write of another heartbeat; the last one comes in two pieces."""
    frames = [
        bytes.fromhex(f"{number:04x} 0000 0006 01 06 0001 {number:04x}") for number in (1, 2, 3)
    ]

    async def scenario():
        async with opened() as (door, heard):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            content = b"".join(frames)
            writer.write(content[:-3])
            assert await reader.readexactly(24) == b"".join(frames[:2])
            writer.write(content[-3:])
            assert await reader.readexactly(12) == frames[2]
            writer.close()
            return [image.heartbeat for image in heard]

    async def bounded():
        async with asyncio.timeout(20):
            return await scenario()

    assert asyncio.run(bounded()) == [1, 2, 3]


def test_a_port_that_is_taken_is_said():
    async def scenario():
        async with opened() as (door, _):
            other = ModbusDoor(ModbusSettings(port=door.port), lambda image: None)
            with pytest.raises(DoorClosed, match="stop that first"):
                await other.open()

    asyncio.run(scenario())


async def mbpoll(door, *words):
    command = [program("mbpoll"), "-m", "tcp", "-p", str(door.port), "-1", "-q", *words]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


def test_mbpoll_reads_the_result_and_writes_a_trigger():
    """An implementation that shares nothing with pymodbus: libmodbus."""

    async def scenario():
        async with opened() as (door, heard):
            door.show(IMAGE)
            output = await mbpoll(door, "-t", "4", "-r", "111", "-c", "2", "127.0.0.1")
            values = dict(re.findall(r"\[(\d+)\]:\s+(\d+)", output))
            assert values == {"111": "2", "112": "0"}
            number = await mbpoll(door, "-t", "4:int", "-B", "-r", "116", "-c", "1", "127.0.0.1")
            assert re.search(r"\[116\]:\s+70000", number)
            await mbpoll(door, "-t", "4", "-r", "1", "127.0.0.1", "3", "9")
            assert heard[-1] == PlcImage(trigger_enable=True, trigger=True, heartbeat=9)

    asyncio.run(scenario())


@pytest.mark.parametrize(("order", "option"), [("big", ["-B"]), ("little", [])])
def test_mbpoll_writes_and_reads_numbers_of_32_bits_in_both_word_orders(order, option):
    async def scenario():
        async with opened(word_order=order) as (door, heard):
            await mbpoll(door, "-t", "4:int", *option, "-r", "5", "127.0.0.1", "305419896")
            assert heard[-1] == PlcImage(trigger_number=0x12345678)
            door.show(IMAGE)
            output = await mbpoll(door, "-t", "4:int", *option, "-r", "116", "-c", "1", "127.0.0.1")
            assert re.search(r"\[116\]:\s+70000", output)

    asyncio.run(scenario())
