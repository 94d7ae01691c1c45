"""A real machine behind a real door; its spool and its inspections answer at once."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from service.station.machine import Machine
from service.station.machine.events import (
    Decided,
    Exposed,
    PrepareRecipe,
    RecipePrepared,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.images import PlcImage
from service.station.machine.verdicts import Outcome, Verdict
from service.station.plc.modbus import ModbusDoor
from service.station.plc.modbus_client import ModbusClientDoor
from service.station.settings import ModbusClientSettings, ModbusSettings
from service.station.simulating.links import ClientLink, ServerLink
from service.station.simulating.playing import Player
from tests.service.station.machine import bench

SETTINGS = replace(bench.SETTINGS, takt_ms=20_000, ack_timeout_ms=20_000)
OK = Outcome(Verdict.OK, score=0.25)


class Line:
    """`taken` are the trigger numbers and part ids, in order."""

    def __init__(self, settings, open_door):
        self.machine = Machine(settings)
        self.inputs = PlcImage()
        self.taken = []
        self.tasks = set()
        self.image = self.timer = None
        self.door = open_door(self.hear)

    def hear(self, inputs):
        self.inputs = inputs
        self.step()

    def step(self, event=None):
        loop = asyncio.get_running_loop()
        step = self.machine.step(self.inputs, loop.time() * 1_000, event)
        self.image = step.image
        self.door.show(step.image)
        for action in step.actions:
            self.tasks.add(loop.create_task(self.answer(action)))
        if self.timer is not None:
            self.timer.cancel()
        due_s = loop.time() if step.follows_at_once else step.wake_at_ms / 1_000
        self.timer = loop.call_at(due_s, self.step)

    async def answer(self, action):
        match action:
            case PrepareRecipe():
                self.step(RecipePrepared(action.recipe))
            case TakePart():
                self.taken.append((action.trigger_number, action.part_id))
                await asyncio.sleep(0.03)  # the disk: a trigger can be dropped before its end
                self.step(TriggerDurable(action.job))
                self.step(Exposed(action.job))
                self.step(Decided(action.job, OK))
            case Tell():
                self.step(ToldDurable(action.job, action.outcome))

    async def close(self):
        self.timer.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.door.close()
        self.timer.cancel()


@asynccontextmanager
async def line(role, settings=SETTINGS):
    """A line and the link of its PLC, which is the `client` or the `server`."""
    if role == "client":
        station = Line(settings, lambda heard: ModbusDoor(ModbusSettings(port=0), heard))
        await station.door.open()
        link = ClientLink("127.0.0.1", station.door.port)
    else:
        modbus = ModbusClientSettings(host="127.0.0.1", reconnect_ms=20, valid_off_ms=5)
        link = ServerLink(modbus, port=0)
        await link.open()
        modbus = modbus.model_copy(update={"port": link.port})
        station = Line(settings, lambda heard: ModbusClientDoor(modbus, heard))
        await station.door.open()
    station.step()
    try:
        yield station, link
    finally:
        await link.cut()
        await station.close()


@asynccontextmanager
async def playing(role, settings=SETTINGS):
    """A line, a player at it, and the lines that it says."""
    said = []
    async with line(role, settings) as (station, link), Player(link, said.append) as player:
        yield station, player, said
