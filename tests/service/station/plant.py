"""A station with a folder camera and a simulated PLC, against a running service."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from functools import partial

from pymodbus.client import AsyncModbusTcpClient

from service.client import AsyncClient
from service.client.exchange import Retry
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Verdict
from service.station.plc.opening import open_door
from service.station.settings import StationSettings
from service.station.simulating import SimulatedPlc, SimulatorSettings
from service.station.station import Station


class Plant:
    """`expose` writes the image of a part into the camera's folder, each part's a different one."""

    def __init__(self, folder, url, image, silent_after_ms=20_000, **settings):
        self.folder = folder
        self.url = url
        self.image = image
        self.shots = folder / "shots"
        self.shots.mkdir(exist_ok=True)
        self.settings = StationSettings.model_validate(
            {
                "name": "EL-3",
                "cameras": {
                    "top": {
                        "folder": {
                            "path": self.shots,
                            "pattern": "{trigger_number}.png",
                            "renamed_into_place": True,
                            "timeout_ms": silent_after_ms,
                        }
                    }
                },
                "recipes": {
                    1: {"categories": {"top": "bolt"}},
                    2: {"categories": {"top": "nut"}},
                },
                "spool": {"folder": folder / "spool", "min_free_bytes": 0},
                "plc": {"modbus": {"port": 0}},
                "times": {"takt_ms": 20_000, "reserve_ms": 1_000, "ack_timeout_ms": 60_000},
                **settings,
            }
        )

    @asynccontextmanager
    async def station(self, url=None):
        client = AsyncClient(url or self.url, retry=Retry(attempts=3, backoff_s=0.05))
        make_door = partial(open_door, self.settings.plc, station=self.settings, client=client)
        station = Station(self.settings, client, make_door)
        await station.open()
        try:
            yield station
        finally:
            await station.close()
            await client.close()

    def plc(self, station, **settings):
        address = ("127.0.0.1", station.door.port)
        return SimulatedPlc(address, SimulatorSettings(**settings), self.expose)

    async def expose(self, number):
        content = self.content(number)
        if content is not None:
            half = self.shots / f".{number}"
            half.write_bytes(content)
            half.replace(self.shots / f"{number}.png")

    def content(self, number):
        return self.image(width=24, height=24, seed=number)

    def sha256(self, number):
        return hashlib.sha256(self.content(number)).hexdigest()

    async def archived(self):
        """Return the archive's inspections of this station's line, by trigger number."""
        async with AsyncClient(self.url) as client:
            rows = [row async for row in client.inspections() if row.origin != "test"]
        by_number = {row.meta["trigger_number"]: row for row in rows}
        assert len(by_number) == len(rows), sorted(
            (row.meta["trigger_number"], row.part_id, row.told, row.told_reason) for row in rows
        )
        return by_number


async def until(condition, what, seconds=60):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def until_ready(station):
    """Bring a station to Ready with a PLC that triggers nothing, and prove it by its registers."""
    client = AsyncModbusTcpClient("127.0.0.1", port=station.door.port)
    assert await client.connect()
    for command in (Command.SELECT_MODE_AUTOMATIC, Command.PREPARE_RECIPE):
        await client.write_registers(2, [0, 1])
        await client.write_registers(2, [command, 1])
        await until(lambda: station.image.command_result is CommandResult.DONE, command.name)
        await client.write_registers(2, [0, 1])
        await until(lambda: station.image.ack_command == 0, "end of a command")
    client.close()
    assert station.image.state is State.READY


def check(plant, report, archived):
    """The archive has every part that the PLC knows, as the PLC was told, with its own image."""
    assert report.problems == []
    assert report.missing == set()
    for number, verdict in report.verdicts.items():
        row = archived[number]
        assert row.part_id == report.part_ids[number]
        assert row.told.value == (verdict.name if verdict.was_inspected else "UNDECIDED")
        if row.views and row.answer["views"][0]["image"]["sha256"]:
            assert row.answer["views"][0]["image"]["sha256"] == plant.sha256(number)
        if verdict is Verdict.OK:
            assert row.found == "OK"
            assert row.views
    assert report.acknowledged <= archived.keys()
