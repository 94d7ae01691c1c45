"""A desk at a real machine, with its ledger on disk."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from service.station.machine.images import ResultFields, StationImage
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.door import DoorClosed
from service.station.plc.requests.desk import Desk
from service.station.plc.requests.messages import (
    COMMANDS,
    CommandRequest,
    RequestRefused,
    TriggerRequest,
    answer_of,
    read_request,
    state_at_refusal,
)
from service.station.settings.requests import FolderDoorSettings, HttpDoorSettings
from tests.service.station.plc.line import Line

LOST = ResultFields(
    Verdict.UNDECIDED, FailSafe.NG, Reason.STATION_RESTARTED, trigger_number=1, part_id="part 1"
)


class DeskLine(Line):
    def __init__(self, folder, restored=(), kind=HttpDoorSettings, **settings):
        self.delivered = []
        values = {"answers_folder": folder / "answers", **settings}
        self.desk = Desk(kind(**values), self.write, self.delivered.append)
        super().__init__(self.desk.see, restored=restored)

    async def prepare(self):
        for command, recipe in (("SelectModeAutomatic", None), ("PrepareRecipe", 1)):
            answer = await self.desk.command(CommandRequest(command=command, recipe=recipe))
            assert answer.result == "DONE"

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(folder, **options):
    line = DeskLine(folder, **options)
    await line.desk.open()
    line.step()
    try:
        async with asyncio.timeout(20):
            yield line
    finally:
        await line.desk.close()


def trigger(number, **values):
    return TriggerRequest(trigger_number=number, part_id=f"part {number}", **values)


def test_a_repeated_trigger_gets_its_first_answer_and_starts_no_part(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            first = await line.desk.inspect(trigger(1))
            assert await line.desk.inspect(trigger(1)) == first.model_copy(
                update={"repeated": True}
            )
            line.decides.clear()
            callers = [asyncio.create_task(line.desk.inspect(trigger(2))) for _ in range(3)]
            await line.until(lambda: line.numbers == [1, 2])
            line.decides.set()
            answers = await asyncio.gather(*callers)
            assert sorted(answer.repeated for answer in answers) == [False, True, True]
            assert {answer.verdict for answer in answers} == {"OK"}
            assert line.numbers == [1, 2]

    asyncio.run(scenario())


def test_a_number_that_another_request_has_used_is_refused_until_it_is_old(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            await line.desk.inspect(trigger(1, request_id="a"))
            assert (await line.desk.inspect(trigger(1, request_id="a"))).repeated
            with pytest.raises(RequestRefused, match="another request_id") as refused:
                await line.desk.inspect(trigger(1, request_id="b"))
            assert refused.value.code == "other-request"
            line.desk._ledger.find((1, "part 1")).asked_at -= 601
            assert not (await line.desk.inspect(trigger(1, request_id="b"))).repeated
            assert line.numbers == [1, 1]

    asyncio.run(scenario())


def test_a_flood_of_triggers_takes_one_part_and_refuses_all_others(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            line.decides.clear()
            flood = [asyncio.create_task(line.desk.inspect(trigger(n))) for n in range(1, 101)]
            await line.until(lambda: sum(task.done() for task in flood) == 99)
            await line.until(lambda: line.desk.image.missed_trigger)
            line.decides.set()
            (taken,) = [task for task in flood if not task.done()]
            answer = await taken
            assert line.numbers == [answer.trigger_number]
            assert answer.part_id == f"part {answer.trigger_number}"
            refused = [task.exception() for task in flood if task is not taken]
            assert {error.code for error in refused} == {"not-ready"}
            assert [entry.answer for entry in line.delivered] == [answer]

    asyncio.run(scenario())


def test_a_part_that_was_in_work_when_the_station_ended_is_answered_after_its_restart(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            line.decides.clear()
            caller = asyncio.create_task(line.desk.inspect(trigger(1), {"topic": "there"}))
            await line.until(lambda: line.numbers)
        with pytest.raises(RequestRefused) as refused:
            await caller
        assert refused.value.code == "stops"

        async with opened(tmp_path, restored=[(1, LOST)]) as line:
            repeat = await line.desk.inspect(trigger(1))
            assert (repeat.verdict, repeat.reason) == ("UNDECIDED", "STATION_RESTARTED")
            (entry,) = line.delivered
            assert entry.reply_to == {"topic": "there"}
            assert entry.answer.verdict == "UNDECIDED"
            assert line.numbers == []

    asyncio.run(scenario())


def test_a_result_that_was_answered_but_not_acknowledged_is_not_delivered_again(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            line.outcome = line.outcome.__class__(Verdict.NG, score=0.75)
            await line.desk.inspect(trigger(1))
            await line.until(lambda: not line.desk.image.buffered)
            await line.desk.delivered(line.delivered[0])
        ng = ResultFields(Verdict.NG, score=7_500, trigger_number=1, part_id="part 1")
        async with opened(tmp_path, restored=[(1, ng)]) as line:
            await line.until(lambda: not line.desk.image.buffered)
            assert line.delivered == line.desk.undelivered() == []
            assert (await line.desk.inspect(trigger(1))).verdict == "NG"

    asyncio.run(scenario())


def test_a_trigger_that_was_not_taken_when_the_station_ended_is_refused_after_its_restart(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.desk._ledger.add(trigger(1), {"topic": "there"})
        async with opened(tmp_path) as line:
            (entry,) = line.delivered
            assert entry.is_not_taken
            await line.prepare()
            assert (await line.desk.inspect(trigger(1))).verdict == "OK"
            await line.desk.delivered(entry)
            assert (await line.desk.inspect(trigger(1))).repeated

    asyncio.run(scenario())


def test_a_result_of_another_door_is_no_answer_to_a_trigger_of_this_one(tmp_path, caplog):
    """It was triggered before the station got this door, with a number that is used again."""
    passed = ResultFields(Verdict.OK, trigger_number=1, part_id="part 1")

    async def scenario():
        async with opened(tmp_path, restored=[(1, passed)]) as line:
            await line.until(lambda: not line.desk.image.buffered)
            assert line.delivered == line.desk.undelivered() == []
            await line.prepare()
            line.outcome = line.outcome.__class__(Verdict.NG, score=0.75)
            answer = await line.desk.inspect(trigger(1))
            assert (answer.verdict, answer.repeated, line.numbers) == ("NG", False, [1])

    asyncio.run(scenario())
    assert "the result of part part 1 is from before a change of the door" in caplog.text


def test_a_door_answers_nothing_from_the_ledger_of_another_kind(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            assert (await line.desk.inspect(trigger(1))).verdict == "OK"
            await line.until(lambda: not line.desk.image.results_valid)  # it is written down
        async with opened(tmp_path, kind=FolderDoorSettings, path=tmp_path) as line:
            assert line.desk.undelivered() == []
            await line.prepare()
            assert not (await line.desk.inspect(trigger(1))).repeated
        async with opened(tmp_path) as line:
            assert (await line.desk.inspect(trigger(1))).repeated

    asyncio.run(scenario())


@pytest.mark.parametrize("code", ["not-ready", "stops"])
def test_a_refusal_says_not_ready_although_the_station_is_ready_again(code):
    image = StationImage(ready=True)
    assert not state_at_refusal(RequestRefused(code, ""), image)["ready"]
    assert state_at_refusal(RequestRefused("invalid", ""), image)["ready"]


def test_an_answer_that_cannot_be_written_is_given_and_its_result_not_acknowledged(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            await line.prepare()
            connection = line.desk._ledger._connection
            line.decides.clear()
            caller = asyncio.create_task(line.desk.inspect(trigger(1)))
            await line.until(lambda: line.numbers)
            connection.execute("PRAGMA query_only = ON")
            line.decides.set()
            assert (await caller).verdict == "OK"
            with pytest.raises(RequestRefused, match="cannot be kept"):
                await line.desk.inspect(trigger(2))
            assert line.desk.image.buffered == 1
            connection.execute("PRAGMA query_only = OFF")
            await line.until(lambda: not line.desk.image.buffered)
            assert len(line.delivered) == 1
            assert (await line.desk.inspect(trigger(2))).verdict == "OK"

    asyncio.run(scenario())


def test_only_the_latest_answers_are_remembered(tmp_path):
    async def scenario():
        async with opened(tmp_path, max_answers=10) as line:
            await line.prepare()
            for number in range(1, 16):
                await line.desk.inspect(trigger(number))
            await line.until(lambda: not line.desk.image.buffered)
            await line.until(lambda: len(line.desk.undelivered()) == 10)
            assert (await line.desk.inspect(trigger(15))).repeated
            assert not (await line.desk.inspect(trigger(1))).repeated

    asyncio.run(scenario())


def test_a_second_station_cannot_open_the_same_answers(tmp_path):
    async def scenario():
        async with opened(tmp_path):
            with pytest.raises(DoorClosed, match="give each station its own folder"):
                await DeskLine(tmp_path).desk.open()

    asyncio.run(scenario())


def test_a_command_is_refused_while_another_runs_and_its_repeat_gets_the_first_answer(tmp_path):
    async def scenario():
        async with opened(tmp_path) as line:
            refused = await line.desk.command(CommandRequest(command="StartContinuous"))
            assert refused.result == "REFUSED"
            assert refused.detail == "the state PREOPERATIONAL does not allow it"
            await line.desk.command(CommandRequest(command="SelectModeAutomatic"))
            prepare = CommandRequest(command="PrepareRecipe", recipe=1, request_id="p")
            preparing = asyncio.create_task(line.desk.command(prepare))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            while_it_runs = await line.desk.command(CommandRequest(command="Halt"))
            assert while_it_runs.detail == "another command is running"
            assert (await preparing).state["state"] == "READY"
            await line.desk.command(CommandRequest(command="Halt"))
            assert await line.desk.command(prepare) == await preparing

    asyncio.run(scenario())


@pytest.mark.parametrize("verdict", Verdict)
def test_an_answer_says_ok_for_the_verdict_ok_alone(verdict):
    answer = answer_of(ResultFields(verdict), (), None)
    assert (answer.verdict == "OK") == (verdict is Verdict.OK)
    assert ('"OK"' in answer.model_dump_json()) == (verdict is Verdict.OK)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "expected a JSON object"),
        (b"\xff\xfe", "expected a JSON object"),
        (b"[" * 10_000, "expected a JSON object"),
        (b"17", "valid dictionary"),
        (b"{}", "trigger_number: Field required"),
        (b'{"trigger_number": "17"}', "trigger_number: Input should be a valid integer"),
        (b'{"trigger_number": true}', "trigger_number: Input should be a valid integer"),
        (b'{"trigger_number": NaN}', "NaN is not a JSON number"),
        (b'{"trigger_number": -1}', "trigger_number: Input should be greater"),
        (b'{"trigger_number": 4294967296}', "trigger_number: Input should be less"),
        (b'{"trigger_number": 1, "trigger_number": 2}', "twice"),
        (b'{"trigger_number": 1, "part": "x"}', "part: Extra inputs are not permitted"),
        (b'{"trigger_number": 1, "part_id": "a\\u0000b"}', "part_id: String should match"),
        (b'{"trigger_number": 1, "part_id": "' + b"x" * 129 + b'"}', "part_id: String should"),
        (b" " * 20_000, "expected at most 16384 bytes"),
    ],
)
def test_rubbish_is_refused_with_its_fault(content, fault):
    with pytest.raises(RequestRefused) as refused:
        read_request(TriggerRequest, content)
    assert refused.value.code == "invalid"
    assert fault in str(refused.value)
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"command": "Explode"}', "command: expected one of SelectModeAutomatic"),
        (b'{"command": "DequeueResult"}', "command: expected one of"),
        (b'{"command": "PrepareRecipe"}', "expected `recipe` with PrepareRecipe"),
        (b'{"command": "Halt", "recipe": 1}', "expected `recipe` with PrepareRecipe"),
        (b'{"command": "StartSingleJob"}', "expected `trigger_number` with StartSingleJob"),
    ],
)
def test_a_command_that_is_none_is_refused_with_its_fault(content, fault):
    with pytest.raises(RequestRefused, match=fault):
        read_request(CommandRequest, content)
    assert len(COMMANDS) == 10
