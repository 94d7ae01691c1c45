"""A requester at a real machine: the handshake of doors whose clients send requests."""

import asyncio
from contextlib import asynccontextmanager

import pytest

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
from service.station.machine.images import PlcImage
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Outcome, Verdict
from service.station.plc.requester import NotReady, Requester
from tests.service.station.machine.bench import SETTINGS

OK = Outcome(Verdict.OK, score=0.25)


class Line:
    """A machine whose spool and service answer at the next turn of the loop."""

    def __init__(self, restored=()):
        self.machine = Machine(SETTINGS, restored=restored)
        self.inputs = PlcImage()
        self.unclaimed = []
        self.requester = Requester(self.write, self.unclaimed.append)
        self.spool_fails = False
        self.decides = asyncio.Event()
        self.decides.set()
        self.tasks = set()

    def write(self, inputs):
        self.inputs = inputs
        self.step()

    def step(self, event=None):
        loop = asyncio.get_running_loop()
        step = self.machine.step(self.inputs, 0.0, event)
        self.requester.see(step.image)
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
                self.step(TriggerDurable(action.job))
                await self.decides.wait()
                self.step(Decided(action.job, OK))
            case Tell():
                self.step(ToldDurable(action.job, action.outcome))


def run(scenario, **options):
    async def work():
        async with asyncio.timeout(20), opened(**options) as line:
            await scenario(line)

    asyncio.run(work())


@asynccontextmanager
async def opened(**options):
    line = Line(**options)
    line.requester.open()
    try:
        yield line
    finally:
        await line.requester.close()


async def prepare(line):
    requester = line.requester
    assert await requester.command(Command.SELECT_MODE_AUTOMATIC) is CommandResult.DONE
    assert await requester.command(Command.PREPARE_RECIPE, 1) is CommandResult.DONE
    assert requester.image.ready


def test_each_part_gets_its_own_result():
    async def scenario(line):
        await prepare(line)
        for number in range(1, 30):
            result = await line.requester.inspect(number, f"part {number}")
            assert (result.trigger_number, result.part_id) == (number, f"part {number}")
            assert result.verdict is Verdict.OK
        assert not line.unclaimed
        assert line.requester.image.buffered == 0

    run(scenario)


def test_a_part_while_another_is_in_work_is_refused_and_missed():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        first = asyncio.create_task(line.requester.inspect(1, "first"))
        while not line.requester.image.busy or line.requester.image.trigger_ack:
            await asyncio.sleep(0)
        with pytest.raises(NotReady, match="another part is in work"):
            await line.requester.inspect(2, "second")
        assert line.requester.image.error_code is ErrorCode.MISSED_TRIGGER
        line.decides.set()
        assert (await first).part_id == "first"

    run(scenario)


def test_a_part_before_the_recipe_is_refused_with_the_state():
    async def scenario(line):
        with pytest.raises(NotReady, match="in the state preoperational"):
            await line.requester.inspect(1, "early")

    run(scenario)


def test_a_part_that_the_spool_does_not_take_is_refused_with_the_error():
    async def scenario(line):
        await prepare(line)
        line.spool_fails = True
        with pytest.raises(NotReady, match="in the state error: spool full"):
            await line.requester.inspect(1, "lost")
        assert line.requester.image.state is State.ERROR

    run(scenario)


def test_the_result_of_a_caller_that_left_is_unclaimed_and_the_next_part_gets_its_own():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        caller = asyncio.create_task(line.requester.inspect(1, "left"))
        while not line.requester.image.busy or line.requester.image.trigger_ack:
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        line.decides.set()
        while not line.requester.image.ready:
            await asyncio.sleep(0)
        assert (await line.requester.inspect(2, "next")).part_id == "next"
        assert [result.part_id for result in line.unclaimed] == ["left"]

    run(scenario)


def test_a_refused_command_says_so():
    async def scenario(line):
        assert await line.requester.command(Command.START_CONTINUOUS) is CommandResult.REFUSED

    run(scenario)
