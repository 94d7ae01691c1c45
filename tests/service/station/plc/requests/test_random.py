"""Random clients of a desk on a station that is killed again and again: no part is mixed up."""

import asyncio
import random
from collections import Counter

import pytest

from service.station.machine.events import Settle, TakePart, Tell
from service.station.machine.part import result_fields
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from service.station.plc.requests.messages import RequestRefused, TriggerRequest
from tests.service.station.plc.requests.test_desk import DeskLine

RESTARTED = Outcome(Verdict.UNDECIDED, Reason.STATION_RESTARTED, FailSafe.NG)
OUTCOMES = (Outcome(Verdict.OK, score=0.25), Outcome(Verdict.NG, score=0.75))


class SpooledLine(DeskLine):
    """A line whose spool outlives it: by job, the part and what the line was told."""

    def __init__(self, folder, spool, draw):
        self.spool = spool
        self.draw = draw
        restored = []
        for job, part in sorted(spool.items()):
            action, part[1] = part[0], part[1] or RESTARTED  # in work when the station was killed
            fields = result_fields(part[1], action.recipe, action.trigger_number, action.part_id)
            restored.append((job, fields))
        self.is_killed = False
        super().__init__(folder, restored)
        self.machine._work._next_job = 1 + max(spool, default=0)

    def step(self, event=None):
        if not self.is_killed:
            super().step(event)

    async def answer(self, action):
        for _ in range(self.draw.randrange(4)):
            await asyncio.sleep(0)
        if self.is_killed:
            return
        if isinstance(action, TakePart):
            self.spool[action.job] = [action, None]
            self.outcome = OUTCOMES[action.trigger_number % 2]
        elif isinstance(action, Tell):
            self.spool[action.job][1] = action.outcome
        elif isinstance(action, Settle):
            self.spool.pop(action.job, None)
        await super().answer(action)

    async def kill(self):
        """End everything without a word; what is on disk stays."""
        self.is_killed = True
        self.desk._is_closed = True
        await self.desk._requester.close()
        await self.desk.close()


@pytest.mark.parametrize("seed", range(6))
def test_each_part_is_taken_once_and_answered_with_its_own_result(tmp_path, seed):
    draw = random.Random(seed)
    taken, answers, spool = Counter(), {}, {}

    async def ask(line, number):
        request = TriggerRequest(trigger_number=number, part_id=f"part {number}")
        try:
            answer = await line.desk.inspect(request)
        except RequestRefused:
            return
        assert (answer.trigger_number, answer.part_id) == request.key
        first = answers.setdefault(number, answer)
        assert first.verdict == answer.verdict

    async def run_once(number):
        line = SpooledLine(tmp_path, spool, draw)
        await line.desk.open()
        line.step()
        await line.until(lambda: not line.desk.image.buffered)
        await line.prepare()
        asking = []
        for _ in range(draw.randrange(5, 40)):
            number += draw.random() < 0.7
            asking.append(asyncio.create_task(ask(line, number)))
            await asyncio.sleep(draw.choice((0, 0, 0.001, 0.01)))
            if draw.random() < 0.1:
                draw.choice(asking).cancel()
            if draw.random() < 0.5:
                await line.until(lambda: line.desk.image.ready)
        await line.kill()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert all(error is None or isinstance(error, asyncio.CancelledError) for error in done)
        taken.update(line.numbers)
        return number

    async def scenario():
        number = 0
        async with asyncio.timeout(50):
            for _ in range(8):
                number = await run_once(number)
            line = SpooledLine(tmp_path, spool, draw)
            await line.desk.open()
            line.step()
            await line.until(lambda: not line.desk.image.buffered)
            for number in taken:
                await ask(line, number)
            await line.desk.close()

    asyncio.run(scenario())
    assert len(taken) > 15
    assert set(taken.values()) == {1}
    assert taken.keys() == answers.keys()
    for number, answer in answers.items():
        own = OUTCOMES[number % 2].verdict.name
        assert answer.verdict == own or answer.reason == "STATION_RESTARTED"
    assert {answer.verdict for answer in answers.values()} >= {"OK", "NG"}
