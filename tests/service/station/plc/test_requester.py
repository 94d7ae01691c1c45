"""A requester at a real machine: the handshake of doors whose clients send requests."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.images import ResultFields
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Reason, Verdict
from service.station.plc.requester import NotReady, Requester, StationCloses
from tests.service.station.machine.bench import SETTINGS
from tests.service.station.plc.line import Line


class RequesterLine(Line):
    """A line with a requester in the place of a door."""

    def __init__(self, **options):
        self.unclaimed = []
        self.kept = []
        self.keeping_fails = False
        self.requester = Requester(self.write, self.unclaimed.append, self.keep)
        super().__init__(self.requester.see, **options)

    async def keep(self, result):
        if self.keeping_fails:
            raise OSError("disk full")
        self.kept.append(result.part_id)


def run(scenario, **options):
    async def work():
        async with asyncio.timeout(20), opened(**options) as line:
            await scenario(line)

    asyncio.run(work())


@asynccontextmanager
async def opened(**options):
    line = RequesterLine(**options)
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


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


def test_a_caller_that_leaves_while_trigger_is_held_drops_no_trigger():
    async def scenario(line):
        await prepare(line)
        line.is_durable.clear()
        caller = asyncio.create_task(line.requester.inspect(1, "left"))
        await until(lambda: line.inputs.trigger)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert line.inputs.trigger
        line.is_durable.set()
        await until(lambda: line.unclaimed)
        assert line.unclaimed[0].part_id == "left"
        assert line.requester.image.error_count == 0
        assert (await line.requester.inspect(2, "next")).part_id == "next"

    run(scenario)


def test_a_caller_that_leaves_during_a_command_does_not_block_the_next_command():
    async def scenario(line):
        await line.requester.command(Command.SELECT_MODE_AUTOMATIC)
        caller = asyncio.create_task(line.requester.command(Command.PREPARE_RECIPE, 1))
        await until(lambda: line.inputs.command)
        caller.cancel()
        assert await line.requester.command(Command.HALT) is CommandResult.DONE
        assert caller.cancelled()

    run(scenario)


def test_a_flood_of_triggers_takes_one_part_and_misses_all_others():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        flood = [
            asyncio.create_task(line.requester.inspect(number, f"part {number}"))
            for number in range(1, 101)
        ]
        await until(lambda: sum(task.done() for task in flood) == 99)
        assert all(isinstance(task.exception(), NotReady) for task in flood if task.done())
        await until(lambda: line.requester.image.missed_trigger)
        line.decides.set()
        assert (await flood[0]).part_id == "part 1"
        assert line.numbers == [1]

    run(scenario)


def test_a_trigger_in_the_step_that_ends_a_late_part_is_taken_as_its_own_part():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        late = asyncio.create_task(line.requester.inspect(1, "late"))
        await until(lambda: line.requester.image.busy and not line.inputs.trigger)
        line.now_ms = SETTINGS.takt_ms
        following = asyncio.create_task(line.requester.inspect(2, "next"))
        result = await late
        assert (result.part_id, result.verdict) == ("late", Verdict.UNDECIDED)
        assert result.reason is Reason.DEADLINE
        line.decides.set()
        result = await following
        assert (result.part_id, result.verdict) == ("next", Verdict.OK)
        assert not line.unclaimed

    run(scenario)


def test_a_result_of_an_earlier_run_is_not_taken_for_a_new_part_of_the_same_name():
    old = ResultFields(Verdict.UNDECIDED, reason=Reason.STATION_RESTARTED, trigger_number=1)

    async def scenario(line):
        line.keeping_fails = True
        line.step()
        await until(lambda: line.requester.image.results_valid)
        await prepare(line)
        caller = asyncio.create_task(line.requester.inspect(1, ""))
        await until(lambda: line.requester.image.buffered == 2)
        line.keeping_fails = False
        assert (await caller).verdict is Verdict.OK
        assert line.unclaimed == [old]

    run(scenario, restored=[(0, old)])


def test_results_that_cannot_be_kept_wait_and_a_full_buffer_refuses_the_next_part():
    async def scenario(line):
        await prepare(line)
        line.keeping_fails = True
        first = await line.requester.inspect(1, "part 1")
        assert first.verdict is Verdict.OK
        callers = []
        for number in range(2, 9):
            callers.append(asyncio.create_task(line.requester.inspect(number, f"part {number}")))
            await until(lambda: line.requester.image.buffered == number)  # noqa: B023
        with pytest.raises(NotReady, match="8 results wait to be kept"):
            await line.requester.inspect(9, "part 9")
        line.keeping_fails = False
        results = await asyncio.gather(*callers)
        assert [result.trigger_number for result in results] == list(range(2, 9))
        await until(lambda: line.requester.image.buffered == 0)
        assert line.kept == [f"part {number}" for number in range(1, 9)]

    run(scenario)


def test_a_result_that_was_kept_too_late_is_acknowledged_after_its_overrun():
    async def scenario(line):
        await prepare(line)
        line.keeping_fails = True
        assert (await line.requester.inspect(1, "part 1")).verdict is Verdict.OK
        line.now_ms = SETTINGS.ack_timeout_ms
        line.step()
        assert line.requester.image.overrun
        line.keeping_fails = False
        await until(lambda: not line.requester.image.buffered)
        assert line.kept == ["part 1"]
        assert (await line.requester.inspect(2, "part 2")).part_id == "part 2"
        assert line.requester.image.error_code is ErrorCode.OVERRUN

    run(scenario)


def test_an_aborted_part_is_undecided_and_told_to_its_caller():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        caller = asyncio.create_task(line.requester.inspect(1, "aborted"))
        await until(lambda: line.requester.image.busy and not line.inputs.trigger)
        assert await line.requester.command(Command.ABORT) is CommandResult.DONE
        result = await caller
        assert (result.verdict, result.reason) == (Verdict.UNDECIDED, Reason.ABORTED)

    run(scenario)


def test_a_single_job_is_started_by_command_with_the_number_and_name_of_its_part():
    async def scenario(line):
        await prepare(line)
        await line.requester.inspect(1, "by trigger")
        result = await line.requester.inspect(2, "by command", by_command=True)
        assert (result.trigger_number, result.part_id) == (2, "by command")
        assert await line.requester.command(Command.HALT) is CommandResult.DONE
        with pytest.raises(NotReady, match="in the state halted"):
            await line.requester.inspect(3, "halted", by_command=True)
        assert not line.requester.image.missed_trigger

    run(scenario)


def test_callers_of_a_station_that_closes_are_told_so():
    async def scenario(line):
        await prepare(line)
        line.decides.clear()
        part = asyncio.create_task(line.requester.inspect(1, "in work"))
        await until(lambda: line.requester.image.busy and not line.inputs.trigger)
        await line.requester.close()
        with pytest.raises(StationCloses):
            await part
        for request in (
            line.requester.inspect(2, "late"), line.requester.command(Command.HALT)
        ):  # fmt: skip
            with pytest.raises(StationCloses):
                await request

    run(scenario)


def test_a_receiver_that_fails_does_not_stop_the_results():
    async def scenario(line):
        await prepare(line)
        line.requester._unclaimed = lambda result: 1 / 0
        caller = asyncio.create_task(line.requester.inspect(1, "left"))
        await until(lambda: line.inputs.trigger)
        caller.cancel()
        await until(lambda: line.requester.image.ready)
        assert (await line.requester.inspect(2, "next")).part_id == "next"

    run(scenario)
