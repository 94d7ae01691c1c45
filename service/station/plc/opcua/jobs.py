"""Jobs and commands: the methods of both state machines, and which job a part belongs to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from service.identifiers import new_id
from service.station.machine.images import StationImage
from service.station.machine.states import Command, CommandResult, State
from service.station.plc.layout import PART_ID_CHARACTERS
from service.station.plc.opcua.events import Events, extension
from service.station.plc.opcua.methods import (
    OUTCOME_OF,
    Methods,
    Outcome,
    id_of,
    is_usable,
    outcome,
)
from service.station.plc.opcua.recipes import Recipes
from service.station.plc.opcua.vision import AUTOMATIC, STATE_MACHINE, Vision, structure
from service.station.plc.requester import NotReady, Requester

_LARGEST_NUMBER = 0xFFFF_FFFF
_MOST_ERRORS = 32


@dataclass(frozen=True, slots=True)
class Job:
    """A part that a client started, and what the client calls it."""

    job_id: str
    result_id: str
    trigger_number: int
    part_id: str
    meas_id: str = ""
    product_id: str = ""


class Jobs:
    """Starts jobs by the station's handshake, and remembers them until their result is there."""

    def __init__(
        self, vision: Vision, events: Events, requester: Requester, recipes: Recipes
    ) -> None:
        self._vision = vision
        self._recipes = recipes
        self._events = events
        self._requester = requester
        self._waiting: dict[tuple[int, str], Job] = {}
        self._continuous: Job | None = None
        self._latest = ""
        self._next_number = int(time.time()) & _LARGEST_NUMBER
        self._image = StationImage(online=False)

    async def link(self, methods: Methods) -> None:
        """Answer the methods of both state machines."""
        for path, command in (
            (f"{STATE_MACHINE}.Halt", Command.HALT),
            (f"{STATE_MACHINE}.Reset", Command.RESET),
            (f"{STATE_MACHINE}.SelectModeAutomatic", Command.SELECT_MODE_AUTOMATIC),
            (f"{AUTOMATIC}.Stop", Command.STOP),
            (f"{AUTOMATIC}.Abort", Command.ABORT),
        ):
            await methods.link(path, self._commander(command), commands=True)
        await methods.link(f"{STATE_MACHINE}.ConfirmAll", self._confirm_all, commands=True)
        await methods.link(f"{AUTOMATIC}.StartSingleJob", self._start_single, commands=True)
        await methods.link(f"{AUTOMATIC}.StartContinuous", self._start_continuous, commands=True)

    def take(self, trigger_number: int, part_id: str) -> Job:
        """Return the job of a part that has ended; one without ids if no client started it."""
        job = self._waiting.pop((trigger_number, part_id), None)
        return job or Job("", str(new_id()), trigger_number, part_id)

    def has(self, trigger_number: int, part_id: str) -> bool:
        """Whether the result of a client's part is not there yet."""
        return (trigger_number, part_id) in self._waiting

    async def show(self, image: StationImage) -> None:
        """Report the ends of exposures and of executions."""
        before, self._image = self._image, image
        job = extension(structure("JobIdDataType", Id=self._latest))
        source = self._vision.node_id(AUTOMATIC)
        if image.exposure_done and not before.exposure_done:
            name = "AcquisitionDoneEventType"
            await self._events.send(name, source, "the images are taken", JobId=job)
        executing = (State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)
        if image.state is State.READY and before.state in executing:
            await self._events.send("ReadyEventType", source, "ready", JobId=job)

    async def trigger(self, trigger_number: int, part_id: str) -> Sequence[ua.Variant]:
        """Trigger a part, in the state Ready or ContinuousExecution."""
        if not is_usable(part_id or "", PART_ID_CHARACTERS):
            return _job_outputs("", Outcome.INVALID)
        state = self._requester.image.state
        continuous = self._continuous if state is State.CONTINUOUS_EXECUTION else None
        job = self._new_job(continuous, trigger_number, part_id or "")
        if job is None:
            return _job_outputs("", Outcome.BUSY)
        try:
            await self._requester.start(job.trigger_number, job.part_id)
        except NotReady:
            self._forget(job)
            return _job_outputs("", Outcome.REFUSED)
        self._latest = job.job_id
        if not continuous:
            await self._report_start(job)
        return _job_outputs(job.job_id, Outcome.OK)

    async def _start_single(self, *ids: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        """Start one part; returns when the part is on the station's disk."""
        names = _names(*ids)
        if names is None:
            return self._started("", Outcome.INVALID)
        if not self._is_prepared(*ids):
            return self._started("", Outcome.UNKNOWN_RECIPE)
        job = None if self._requester.is_commanded else self._new_job(None, None, **names)
        if job is None:
            return self._started("", Outcome.BUSY)
        before, self._latest = self._latest, job.job_id
        try:
            await self._requester.start(job.trigger_number, job.part_id, by_command=True)
        except NotReady:
            self._forget(job)
            self._latest = before
            return self._started("", Outcome.REFUSED)
        await self._report_start(job)
        return self._started(job.job_id, Outcome.OK)

    async def _start_continuous(self, *ids: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        names = _names(*ids)
        if names is None:
            return self._started("", Outcome.INVALID)
        if not self._is_prepared(*ids):
            return self._started("", Outcome.UNKNOWN_RECIPE)
        if self._requester.is_commanded:
            return self._started("", Outcome.BUSY)
        result = await self._requester.command(Command.START_CONTINUOUS)
        if result is not CommandResult.DONE:
            return self._started("", OUTCOME_OF[result])
        self._continuous = Job(str(new_id()), "", 0, **names)
        self._latest = self._continuous.job_id
        await self._report_start(self._continuous)
        return self._started(self._continuous.job_id, Outcome.OK)

    async def _confirm_all(self, comment: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        for _ in range(_MOST_ERRORS):
            result = await self._requester.command(Command.ACKNOWLEDGE_ERROR)
            if result is not CommandResult.DONE:
                break
        return ()

    def _commander(self, command: Command) -> Any:  # noqa: ANN401
        async def give(*cause: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
            return (outcome(OUTCOME_OF[await self._requester.command(command)]),)

        return give

    def _is_prepared(self, _meas: Any, _part: Any, recipe_id: Any, *_rest: Any) -> bool:  # noqa: ANN401
        """Whether a job's recipe is the prepared one; a job that names none takes that one."""
        if not id_of(recipe_id):
            return True
        recipe = self._recipes.find(recipe_id)
        return recipe is not None and recipe.number == self._requester.image.recipe

    def _new_job(
        self,
        continuous: Job | None,
        trigger_number: int | None,
        part_id: str,
        meas_id: str = "",
        product_id: str = "",
    ) -> Job | None:
        """Return a job that waits for its part; None if such a part is in work."""
        number = trigger_number
        if number is None and meas_id.isascii() and meas_id.isdigit():
            number = int(meas_id) if int(meas_id) <= _LARGEST_NUMBER else None
        if number is None:
            number = self._next_number
            self._next_number = (number + 1) & _LARGEST_NUMBER
        job = Job(
            continuous.job_id if continuous else str(new_id()), str(new_id()), number, part_id,
            meas_id or (continuous.meas_id if continuous else ""),
            product_id or (continuous.product_id if continuous else ""),
        )  # fmt: skip
        return None if self._waiting.setdefault((number, part_id), job) is not job else job

    def _forget(self, job: Job) -> None:
        self._waiting.pop((job.trigger_number, job.part_id), None)

    async def _report_start(self, job: Job) -> None:
        await self._events.send(
            "JobStartedEventType", self._vision.node_id(AUTOMATIC), "job started",
            JobId=extension(structure("JobIdDataType", Id=job.job_id)),
        )  # fmt: skip

    def _started(self, job_id: str, result: Outcome) -> Sequence[ua.Variant]:
        return extension(structure("JobIdDataType", Id=job_id)), outcome(result)


def _names(
    meas_id: Any, part_id: Any, _recipe_id: Any, product_id: Any, parameters: Any  # noqa: ANN401
) -> dict[str, str] | None:  # fmt: skip
    """Return the client's names of a job; None if one cannot be kept, or for parameters."""
    if parameters:
        return None
    names = {
        "meas_id": id_of(meas_id),
        "part_id": id_of(part_id),
        "product_id": id_of(product_id),
    }
    usable = all(is_usable(name) for name in names.values())
    return names if usable and len(names["part_id"]) <= PART_ID_CHARACTERS else None


def _job_outputs(job_id: str, result: Outcome) -> Sequence[ua.Variant]:
    return ua.Variant(job_id, ua.VariantType.String), outcome(result)
