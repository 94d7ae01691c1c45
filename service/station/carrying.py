"""Carries out the machine's actions (`carrier.carry_out`), and reports how they ended.

A part's inspections are archived by the live answer if it says so and if the line was told the
same decision; otherwise the poster records what the line was told.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from service.client import InspectionError
from service.station.cameras.camera import Frame, Take
from service.station.inspecting import Inspector
from service.station.machine.events import (
    Action,
    Alarm,
    Decided,
    Event,
    Exposed,
    Forget,
    PrepareRecipe,
    RecipeFailed,
    RecipePrepared,
    Settle,
    SpoolFailed,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.outcomes import told_of, worst_outcome
from service.station.parts import SpooledPart
from service.station.posting import Poster
from service.station.reports import Answer, PartReport, StageTimes, Watcher
from service.station.settings import StationSettings
from service.station.spool import Spool, SpoolFailure
from service.station.warming import warm_recipe

logger = logging.getLogger("service.station")

_FAILED = Outcome(Verdict.UNDECIDED, Reason.INSPECTION_FAILED)
_RETRY_S = 0.5


class SpoolThread:
    """Runs the spool's writes in one thread, in their order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    async def write(self, method: Callable[..., None], *arguments: object) -> None:
        """Run a method of the spool. Raises `SpoolFailure`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, lambda: method(*arguments))

    async def close(self) -> None:
        """Finish all writes."""
        await asyncio.to_thread(self._thread.shutdown)


@dataclass(slots=True)
class _Work:
    """What is noted of a part until it is reported; `began_s` is the loop's time."""

    began_s: float
    times: StageTimes = field(default_factory=StageTimes)
    answers: tuple[Answer, ...] = ()
    images: dict[str, bytes] = field(default_factory=dict)

    @property
    def elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self.began_s) * 1_000


class Carrier:
    """Starts a task for each action; `hear` gets each report, in the event loop."""

    def __init__(
        self,
        settings: StationSettings,
        spool: Spool,
        thread: SpoolThread,
        inspector: Inspector,
        poster: Poster,
        hear: Callable[[Event], None],
        watcher: Watcher,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._thread = thread
        self._inspector = inspector
        self._poster = poster
        self._hear = hear
        self._watcher = watcher
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._answers: dict[int, list[Answer] | None] = {}
        """By job: the live answers of a part that is not handed to the archive yet; None while it
        is inspected."""
        self._works: dict[int, _Work] = {}
        self.job_in_work: Callable[[], int | None] = lambda: None
        self._is_finishing = False

    def carry_out(self, action: Action) -> None:
        """Start an action."""
        match action:
            case TakePart():
                self._answers[action.job] = None
                self._works[action.job] = _Work(asyncio.get_running_loop().time())
                self._start(self._take_part(action))
            case Tell():
                self._start(self._tell(action))
            case Settle():
                self._start(self._settle(action.job))
            case Forget():
                self._answers.pop(action.job, None)
                self._works.pop(action.job, None)
            case PrepareRecipe():
                if self._preparing is not None:
                    self._preparing.cancel()
                self._preparing = self._start(self._prepare(action.recipe))
            case Alarm():
                self._watcher.alarm(action.code)
                logger.warning("station %s: error %s", self._settings.name, action.code.name)

    async def finish(self) -> None:
        """Wait until every action has ended; those of recipes are cancelled.

        What the disk still refuses is left to the next start, which makes the part UNDECIDED.
        """
        self._is_finishing = True
        if self._preparing is not None:
            self._preparing.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take_part(self, action: TakePart) -> None:
        try:
            self._answers[action.job] = await self._inspect_part(action)
        except SpoolFailure as error:
            logger.warning("station %s: %s", self._settings.name, error)
            self._hear(SpoolFailed(action.job, error.code))
        except Exception:
            logger.exception("station %s: a part was not inspected", self._settings.name)
            self._hear(Decided(action.job, _FAILED))
        if self._answers.get(action.job, ()) is None:
            self._answers[action.job] = []
        await self._hand_over(action.job)

    async def _inspect_part(self, action: TakePart) -> list[Answer]:
        """Take and inspect a part; return the live answers. Raises `SpoolFailure`."""
        part = SpooledPart(
            job=action.job,
            recipe=action.recipe,
            trigger_number=action.trigger_number,
            part_id=action.part_id,
            triggered_at=datetime.now(UTC),
            inspections=self._inspector.inspections_of(action.recipe),
        )
        work = self._works[part.job]
        takes = await self._begin(part)
        work.times.durable_ms = work.elapsed_ms
        self._hear(TriggerDurable(part.job))
        frames = await self._inspector.take(takes)
        work.images = {name: frame.content for name, frame in frames.items()}
        if len(frames) == len(self._settings.recipes[action.recipe].categories):
            work.times.exposed_ms = work.elapsed_ms
            self._hear(Exposed(part.job))
        storing = asyncio.create_task(self._store(part.job, frames))
        left_ms = action.deadline_ms - asyncio.get_running_loop().time() * 1_000
        try:
            answers = await self._inspector.inspect(part, frames, left_ms)
            work.answers = tuple(answers)
            work.times.decided_ms = work.elapsed_ms
            self._hear(Decided(part.job, worst_outcome([answer.outcome for answer in answers])))
        finally:
            await storing
        return answers

    async def _begin(self, part: SpooledPart) -> dict[str, Take]:
        """Write the trigger and arm the cameras. Raises `SpoolFailure`."""
        arming = asyncio.create_task(self._inspector.arm(part))
        try:
            await self._thread.write(self._spool.add, part)
        finally:
            (takes,) = await asyncio.gather(arming, return_exceptions=True)
        if isinstance(takes, BaseException):  # raised, it would leave the part Busy
            logger.warning("no camera is armed: %s", takes, exc_info=takes)
            return {}
        return takes

    async def _store(self, job: int, frames: dict[str, Frame]) -> None:
        for name, frame in frames.items():
            await asyncio.to_thread(self._spool.add_image, job, name, frame.content)

    async def _tell(self, action: Tell) -> None:
        """Write what the line is told.

        A decision that cannot be written is not shown, and the machine replaces it. Any other
        outcome is shown whether it is written or not, so it is written as soon as the disk allows.
        """
        is_shown_anyway = not action.outcome.verdict.was_inspected
        if await self._write(action.job, self._spool.tell, action.outcome, again=is_shown_anyway):
            self._hear(ToldDurable(action.job, action.outcome))
            self._report(action.job)
            await self._hand_over(action.job)

    async def _write(
        self, job: int, method: Callable[..., None], *arguments: object, again: bool = True
    ) -> bool:
        """Write to the spool, `again` until it works; return whether it did. Reports a failure."""
        is_reported = False
        while True:
            try:
                await self._thread.write(method, job, *arguments)
            except SpoolFailure as error:
                if not is_reported:
                    logger.warning("station %s: %s", self._settings.name, error)
                    self._hear(SpoolFailed(job, error.code))
                is_reported = True
            else:
                return True
            if not again or self._is_finishing:
                return False
            await asyncio.sleep(_RETRY_S)

    def _report(self, job: int) -> None:
        """Report a part once, when its outcome is final."""
        part = self._spool.find(job)
        if part is None or self.job_in_work() == job:
            return
        work = self._works.pop(job, None)
        if work is None:
            return
        times = replace(work.times, told_ms=work.elapsed_ms)
        self._watcher.part_told(PartReport(part, work.answers, dict(work.images), times))

    async def _settle(self, job: int) -> None:
        await self._write(job, self._spool.settle)

    async def _hand_over(self, job: int) -> None:
        """Hand a part to the archive, once it is inspected and the PLC sees its outcome."""
        part = self._spool.find(job)
        is_final = part is not None and part.told is not None and self.job_in_work() != job
        answers = self._answers.get(job)
        if not is_final or answers is None:
            return
        assert part is not None
        assert part.told is not None
        del self._answers[job]
        same = [
            answer.inspection_id for answer in answers if answer.archived_as is told_of(part.told)
        ]
        try:
            for inspection_id in same:
                await self._thread.write(self._spool.archived, job, inspection_id)
        except SpoolFailure as error:
            logger.warning("station %s: %s", self._settings.name, error)
            same = []  # the poster tries again
        if len(same) < len(part.inspections):
            self._poster.add(job)

    async def _prepare(self, recipe: int) -> None:
        """Warm the categories of a recipe, and report how that ended."""
        try:
            await warm_recipe(
                self._inspector, recipe, self._settings.times.prepare_timeout_ms / 1_000
            )
        except (InspectionError, TimeoutError) as error:
            reason = error if str(error) else "out of time"
            logger.warning("recipe %d cannot be prepared: %s", recipe, reason)
            self._hear(RecipeFailed(recipe))
        else:
            self._hear(RecipePrepared(recipe))
