"""`mambaad station run` in a process of its own, and a PLC's hand at its registers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

from pymodbus.client import AsyncModbusTcpClient

from service.station.machine.images import PlcImage
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, WordOrder, decode, encode
from service.station.plc.modbus_map import OUTPUTS, OUTPUTS_AT
from tests.service.live import ROOT, RUN

STATION = """\
name: EL-3
server:
  url: {url}
{server}
autostart_recipe: 1
spool:
  folder: {spool}
  min_free_bytes: 0
times:
  takt_ms: {takt_ms}
plc:
  modbus:
    port: {port}
cameras:
  top:
    folder:
      path: shots
      pattern: "{{trigger_number}}.png"
      renamed_into_place: true
      timeout_ms: 60000
recipes:
  1:
    categories:
      top: bolt
status:
  port: 0
"""


def write_station_file(folder, url, *, server="", spool="station-spool", takt_ms=60_000):
    """Write `station.yaml`; return the port of its Modbus door."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = STATION.format(url=url, server=server, spool=spool, takt_ms=takt_ms, port=port)
    (folder / "station.yaml").write_text(text)
    return port


def command(folder, *words):
    return [sys.executable, "-c", RUN, "station", *words, str(folder / "station.yaml")]


@contextmanager
def running(folder, *, path=(), **variables):
    """Run the station; its log is `station.log` in the folder. `path` goes before the modules'."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    with (folder / "station.log").open("ab") as log:
        process = subprocess.Popen(
            command(folder, "run"), cwd=ROOT, env=environment | variables,
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert b"no safety function" in said, (folder / "station.log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@asynccontextmanager
async def connected(port, timeout=3):
    async with AsyncModbusTcpClient("127.0.0.1", port=port, timeout=timeout, retries=0) as client:
        yield client


async def write(client, **bits):
    """Write all of the PLC's registers; TriggerEnable and BufferEnable are on if not named."""
    bits = {"trigger_enable": True, "buffer_enable": True} | bits
    registers = encode(PlcImage(**bits), PLC_WRITES, WordOrder.BIG)
    answer = await client.write_registers(0, registers)
    assert not answer.isError()


async def outputs(client):
    answer = await client.read_holding_registers(OUTPUTS_AT, count=OUTPUTS)
    order = WordOrder.BIG
    return {field.name: decode(answer.registers, field, order) for field in STATION_WRITES}


async def until_outputs(client, **expected):
    """Wait until the registers have these values; return all of them."""
    seen = {}
    try:
        async with asyncio.timeout(60):
            while not expected.items() <= (seen := await outputs(client)).items():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"expected {expected}, got {seen}") from None
    return seen


async def trigger(client, number, part_id="", expose=None):
    """Trigger a part, have its image taken after TriggerAck, and return when Trigger has fallen."""
    await write(client)
    await until_outputs(client, Ready=True)
    await write(client, trigger=True, trigger_number=number, part_id=part_id)
    await until_outputs(client, TriggerAck=True)
    if expose is not None:
        await expose(number)
    await write(client, trigger_number=number, part_id=part_id)


async def take_result(client):
    """Wait for a result, acknowledge it, and return its registers."""
    seen = await until_outputs(client, ResultsValid=True)
    await write(client, results_ack=True)
    await until_outputs(client, ResultsValid=False)
    await write(client)
    return seen


async def clear_errors(client, **bits):
    """Acknowledge all errors; all other bits are `bits`."""
    while (await outputs(client))["Error"]:
        await write(client, clear_error=True, **bits)
        await asyncio.sleep(0.02)
        await write(client, **bits)
        await asyncio.sleep(0.02)
