"""Requests of clients, checked, and the station's answers.

read_request(TriggerRequest, b'{"trigger_number": 17, "part_id": "cell-17"}').part_id
"""

from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from model.bounded import strict_json
from service.station.machine.images import ResultFields, StationImage
from service.station.machine.states import Command
from service.station.machine.verdicts import NO_SCORE, SCORE_STEPS, Verdict
from service.station.reports import PartReport

MOST_BYTES = 16_384
"""Of a request."""

_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
_LARGEST_NUMBER = 2**32 - 1

COMMANDS = {
    command.name.title().replace("_", ""): command
    for command in Command
    if command not in (Command.NONE, Command.DEQUEUE_RESULT)
}
"""Commands by name; there is no DequeueResult, because the door takes every result by itself."""

Code = Literal["not-ready", "invalid", "other-request", "stops", "not-taken"]


class RequestRefused(Exception):
    """The station does nothing; the message says why."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class TriggerRequest(_Message):
    """Inspect the part that is there now."""

    trigger_number: int = Field(ge=0, le=_LARGEST_NUMBER)
    part_id: str = Field("", max_length=128, pattern=_NO_CONTROLS)
    request_id: str | None = Field(None, min_length=1, max_length=128, pattern=_NO_CONTROLS)

    @property
    def key(self) -> tuple[int, str]:
        """Number and part id: the same ones are the same part."""
        return self.trigger_number, self.part_id


class CommandRequest(_Message):
    """A command by its name, such as `PrepareRecipe`."""

    command: str
    recipe: int | None = Field(None, ge=1, le=65_535)
    trigger_number: int | None = Field(None, ge=0, le=_LARGEST_NUMBER)
    part_id: str = Field("", max_length=128, pattern=_NO_CONTROLS)
    request_id: str | None = Field(None, min_length=1, max_length=128, pattern=_NO_CONTROLS)

    @field_validator("command")
    @classmethod
    def _check_command(cls, name: str) -> str:
        if name not in COMMANDS:
            raise ValueError(f"expected one of {', '.join(COMMANDS)}")
        return name

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        code = self.code
        if (code is Command.PREPARE_RECIPE) != (self.recipe is not None):
            raise ValueError("expected `recipe` with PrepareRecipe, and with no other command")
        if (code is Command.START_SINGLE_JOB) != (self.trigger_number is not None):
            raise ValueError(
                "expected `trigger_number` with StartSingleJob, and with no other command"
            )
        return self

    @property
    def code(self) -> Command:
        """The command."""
        return COMMANDS[self.command]

    def trigger(self) -> TriggerRequest:
        """Return the part of a StartSingleJob."""
        assert self.trigger_number is not None
        return TriggerRequest(
            trigger_number=self.trigger_number, part_id=self.part_id, request_id=self.request_id
        )


class InspectionAnswer(BaseModel):
    """One inspection of a part; `found` and `score` are None for a part without decision."""

    category: str
    inspection_id: str
    found: str | None = None
    score: float | None = None


class PartAnswer(BaseModel):
    """The result of a part; let it pass only for the verdict `OK`."""

    trigger_number: int
    part_id: str
    request_id: str | None
    verdict: str
    fail_safe: str
    reason: str
    score: float | None
    recipe: int
    inspections: tuple[InspectionAnswer, ...]
    answered_at: datetime
    repeated: bool = False


class CommandAnswer(BaseModel):
    """How a command ended: `DONE`, `REFUSED` or `FAILED`; then the station's state."""

    command: str
    request_id: str | None
    result: str
    detail: str
    state: dict[str, Any]


_Request = TypeVar("_Request", bound=_Message)


def read_request(model: type[_Request], content: bytes) -> _Request:
    """Return a request from its JSON. Raises `RequestRefused`."""
    if len(content) > MOST_BYTES:
        raise RequestRefused("invalid", f"expected at most {MOST_BYTES} bytes, got {len(content)}")
    try:
        values = strict_json(content, most_depth=4, most_values=100)
    except ValueError as error:
        raise RequestRefused("invalid", f"expected a JSON object: {error}") from error
    return checked_request(model, values)


def checked_request(model: type[_Request], values: object) -> _Request:
    """Return a request from its values. Raises `RequestRefused`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestRefused("invalid", _faults(error)) from error


def answer_of(
    result: ResultFields, inspections: tuple[InspectionAnswer, ...], request_id: str | None
) -> PartAnswer:
    """Return the answer for a result."""
    return PartAnswer(
        trigger_number=result.trigger_number,
        part_id=result.part_id,
        request_id=request_id,
        verdict=Verdict(result.verdict).name,
        fail_safe=result.fail_safe.name,
        reason=result.reason.name,
        score=None if result.score == NO_SCORE else result.score / SCORE_STEPS,
        recipe=result.recipe,
        inspections=inspections,
        answered_at=datetime.now(UTC),
    )


def refusal_of(
    error: RequestRefused, request: TriggerRequest | CommandRequest | None
) -> dict[str, Any]:
    """Return the answer to a request for which the station did nothing; None was not read."""
    if isinstance(request, CommandRequest):
        named: dict[str, Any] = {"command": request.command, "result": "REFUSED"}
    else:
        named = {"verdict": Verdict.NONE.name}
    if request is not None:
        named |= {
            "trigger_number": request.trigger_number,
            "part_id": request.part_id,
            "request_id": request.request_id,
        }
    return {"error": error.code, "detail": str(error), **named}


def state_of(image: StationImage) -> dict[str, Any]:
    """Return what the station shows, in words."""
    return {
        "online": image.online,
        "state": image.state.name,
        "ready": image.ready,
        "busy": image.busy,
        "recipe": image.recipe,
        "error": image.error_code.name if image.error else None,
        "errors": image.error_count,
        "missed_trigger": image.missed_trigger,
        "overrun": image.overrun,
    }


def state_at_refusal(error: RequestRefused, image: StationImage) -> dict[str, Any]:
    """Return what the station shows, for a refusal: it was not ready if that is the reason."""
    state = state_of(image)
    return {**state, "ready": state["ready"] and error.code not in ("not-ready", "stops")}


def inspections_of(report: PartReport) -> tuple[InspectionAnswer, ...]:
    """Return the inspections of a part, for its answer."""
    told = report.part.told
    is_decided = told is not None and told.verdict.was_inspected
    outcomes = {answer.inspection_id: answer.outcome for answer in report.answers if is_decided}
    inspections = []
    for inspection in report.part.inspections:
        outcome = outcomes.get(inspection.inspection_id)
        inspections.append(
            InspectionAnswer(
                category=inspection.category,
                inspection_id=inspection.inspection_id,
                found=outcome.verdict.name if outcome else None,
                score=outcome.score if outcome else None,
            )
        )
    return tuple(inspections)


def _faults(error: ValidationError) -> str:
    texts = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False)[:10]:
        place = ".".join(str(name)[:100] for name in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        texts.append(f"{place}: {text}" if place else text)
    return "; ".join(texts)
