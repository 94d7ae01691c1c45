"""A machine whose spool and service answer at the next turn of the loop."""

import asyncio
from contextlib import asynccontextmanager

from service.station.machine import Machine
from service.station.machine.events import (
    Decided,
    PrepareRecipe,
    RecipePrepared,
    SpoolFailed,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.states import Command
from service.station.machine.verdicts import Outcome, Verdict
from tests.service.station.machine.bench import SETTINGS

OK = Outcome(Verdict.OK, score=0.25)


class Line:
    """A machine with the surroundings of a station; `show` gets each image, as a door does."""

    def __init__(self, show, restored=(), **options):
        self.show = show
        self.machine = Machine(SETTINGS, restored=restored, **options)
        self.inputs = PlcImage()
        self.spool_fails = False
        self.outcome = OK
        self.decides = asyncio.Event()
        self.decides.set()
        self.is_durable = asyncio.Event()
        self.is_durable.set()
        self.tasks = set()
        self.now_ms = 0.0
        self.numbers = []

    def write(self, inputs):
        self.inputs = inputs
        self.step()

    def step(self, event=None):
        loop = asyncio.get_running_loop()
        step = self.machine.step(self.inputs, self.now_ms, event)
        self.show(step.image)
        for action in step.actions:
            self.tasks.add(loop.create_task(self.answer(action)))
        if step.follows_at_once:
            loop.call_soon(self.step)

    async def answer(self, action):
        match action:
            case PrepareRecipe():
                self.step(RecipePrepared(action.recipe))
            case TakePart() if self.spool_fails:
                self.step(SpoolFailed(action.job, ErrorCode.SPOOL_FULL))
            case TakePart():
                self.numbers.append(action.trigger_number)
                await self.is_durable.wait()
                self.step(TriggerDurable(action.job))
                await self.decides.wait()
                self.step(Decided(action.job, self.outcome))
            case Tell():
                self.step(ToldDurable(action.job, action.outcome))


class DoorLine(Line):
    """A line behind a door; `make` gets what listens to the door."""

    def __init__(self, make, **options):
        self.door = make(self.write)
        super().__init__(self.door.show, **options)

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0.005)

    async def prepare(self):
        """Bring the machine to Ready, as the station's autostart does."""
        for command in (Command.SELECT_MODE_AUTOMATIC, Command.PREPARE_RECIPE):
            await self.door._desk._requester.command(command, 1)
        assert self.machine.step(self.inputs, self.now_ms).image.ready


@asynccontextmanager
async def opened(make, *, is_ready=True, **options):
    """Run a line with its door, for 30 s at most."""
    line = DoorLine(make, **options)
    async with asyncio.timeout(30):
        await line.door.open()
        line.step()
        try:
            if is_ready:
                await line.prepare()
            yield line
        finally:
            line.door.show(StationImage(online=False))
            await line.door.close()
