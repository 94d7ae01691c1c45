"""The service's answers as types. Fields that this client does not know are dropped."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self, TypeVar

import httpx
from pydantic import Field, ValidationError, field_validator, model_validator

from model.bounded import strict_json
from service.client.answers import AnswerPart, Decision, Heatmap, Model, Region, Size
from service.client.errors import Problem, UnexpectedAnswer, problem_of

_READY_STATUSES = (200, 503)
_OF_A_PART = ("inspection_id", "archived", "replayed")
_DETAIL_CHARACTERS = 500
_FAULTS_NAMED = 5
_MOST_VALUES = 2_000_000


class Result(AnswerPart):
    """The result of one image; `error` says why it was not inspected.

    Only `is_ok` means that a part is good. A result has no truth value, so that `if result:` cannot
    let a bad part pass. A decision that this client does not know becomes UNDECIDED. `fail_safe` is
    the configured treatment of an UNDECIDED part: NG, REVIEW or STOP.

    `archived`: the inspection is on the service's disk; False: it could not be written; None: there
    is no archive, or nobody waited for it. `replayed`: an earlier request had the id. `engine`: the
    library and the precision that computed it, such as "torch, float32".
    """

    filename: str | None = None
    part_id: str | None = None
    station: str | None = None
    job_id: str | None = None
    meta: dict[str, Any] | None = None
    category: str
    decision: Decision = Decision.UNDECIDED
    fail_safe: str | None = None
    score: float | None = None
    raw_score: float | None = None
    threshold: float | None = None
    regions: tuple[Region, ...] = ()
    model: Model | None = None
    engine: str | None = None
    timings_ms: dict[str, float] = Field(default={})
    image: Size | None = None
    heatmap: Heatmap | None = None
    error: Problem | None = None
    inspection_id: str | None = None
    archived: bool | None = None
    replayed: bool = False
    answer: dict[str, Any] = Field(default={}, repr=False, description="the service's JSON")

    @field_validator("decision", mode="before")
    @classmethod
    def _known(cls, value: object) -> Decision:
        decisions = {decision.value: decision for decision in Decision}
        return decisions.get(str(value), Decision.UNDECIDED)

    @field_validator("heatmap", mode="before")
    @classmethod
    def _decoded(cls, value: object) -> Heatmap | None:
        if value is None:
            return None
        try:
            return Heatmap(content=base64.b64decode(str(value), validate=True))
        except binascii.Error as error:
            raise ValueError(f"the heatmap is not base64: {error}") from error

    @field_validator("error", mode="before")
    @classmethod
    def _raisable(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        status = value.get("status")
        return problem_of(status if isinstance(status, int) else 500, value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        decided = self.decision is not Decision.UNDECIDED
        if decided and self.error is not None:
            raise ValueError(f"{self.decision} and an error: {self.error}")
        if decided and None in (self.score, self.raw_score, self.threshold):
            raise ValueError(f"{self.decision} without a score, raw_score or threshold")
        return self

    @property
    def is_ok(self) -> bool:
        """Whether the part was inspected and is good; nothing else means this."""
        return self.decision is Decision.OK

    @property
    def is_ng(self) -> bool:
        """Whether the part was inspected and is defective."""
        return self.decision is Decision.NG

    @property
    def was_inspected(self) -> bool:
        """Whether there is a decision: OK, NG or REVIEW."""
        return self.decision is not Decision.UNDECIDED

    def require(self) -> Self:
        """Return the result if the part was inspected, else raise its error."""
        if self.was_inspected:
            return self
        if self.error is not None:
            raise self.error
        raise UnexpectedAnswer("the answer has neither a decision nor an error: not inspected")

    def __bool__(self) -> NoReturn:
        raise TypeError("a result has no truth value: use result.is_ok")


class Category(AnswerPart):
    """A category that can be inspected; `threshold` is for the raw score.

    `contested`: checkpoints with other names claim it too (`also_claimed_by`), and no route was
    set.
    """

    category: str
    model: Model
    threshold: float
    image_size: Size
    promise: str
    license: str | None = None
    notice: str | None = None
    also_claimed_by: tuple[Model, ...] = ()
    contested: bool = False


class Readiness(AnswerPart):
    """Whether the service can inspect, and the reasons if not."""

    ready: bool
    reasons: tuple[str, ...] = ()
    answer: dict[str, Any] = Field(default={}, repr=False, description="the service's JSON")


T = TypeVar("T", bound=AnswerPart)


def read_results(
    response: httpx.Response, categories: Sequence[str | None], names: Sequence[str]
) -> list[Result]:
    """Return one result per image, with its name. Raises `Problem` or `UnexpectedAnswer`."""
    body = read_body(response)
    # With `POST /detect`, they are those of the part, of which the results are views.
    of_part = {name: body[name] for name in _OF_A_PART if name in body}
    results = [
        read_one(Result, {**of_part, **item} if isinstance(item, dict) else item, keep=True)
        for item in read_items(body, "results")
    ]
    if len(results) != len(names):
        raise UnexpectedAnswer(f"expected {len(names)} results, got {len(results)}")
    for result, category in zip(results, categories, strict=True):
        if result.category != category:
            raise UnexpectedAnswer(
                f"expected a result of category {category!r}, got {result.category!r}"
            )
    pairs = zip(results, names, strict=True)
    return [result.model_copy(update={"filename": name}) for result, name in pairs]


def read_categories(response: httpx.Response) -> list[Category]:
    """Return the categories. Raises `Problem` or `UnexpectedAnswer`."""
    return [read_one(Category, item) for item in read_items(read_body(response), "categories")]


def read_readiness(response: httpx.Response) -> Readiness:
    """Return the readiness, also from a 503. Raises `Problem` or `UnexpectedAnswer`."""
    return read_one(Readiness, read_body(response, _READY_STATUSES), keep=True)


def read_problem(response: httpx.Response) -> Problem:
    """Return the problem of an answer with an error status."""
    try:
        body = _parsed(response)
    except ValueError:
        body = {"detail": response.text[:_DETAIL_CHARACTERS]}
    after = response.headers.get("Retry-After", "")
    return problem_of(
        response.status_code,
        body if isinstance(body, Mapping) else {},
        float(after) if after.isdecimal() else None,
    )


def read_body(response: httpx.Response, expected: tuple[int, ...] = (200,)) -> dict[str, Any]:
    """Return an answer's JSON object. Raises `Problem` or `UnexpectedAnswer`."""
    if response.status_code not in expected:
        raise read_problem(response)
    kind = response.headers.get("content-type", "none").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnexpectedAnswer(f"{response.url} did not answer with JSON, but with {kind[:80]!r}")
    try:
        body = _parsed(response)
    except ValueError as error:
        raise UnexpectedAnswer(f"{response.url} did not answer with JSON: {error}") from error
    if not isinstance(body, dict):
        raise UnexpectedAnswer(f"{response.url} did not answer with a JSON object")
    return body


def _parsed(response: httpx.Response) -> object:
    """Parse a body within bounds that fit this service's answers, including `meta`."""
    return strict_json(response.content, most_depth=200, most_values=_MOST_VALUES, most_digits=4000)


def read_items(body: dict[str, Any], name: str) -> list[object]:
    """Return a list in an answer. Raises `UnexpectedAnswer`."""
    items = body.get(name)
    if not isinstance(items, list):
        raise UnexpectedAnswer(f"expected a list of {name} in the answer")
    return items


def read_one(kind: type[T], value: object, keep: bool = False) -> T:
    """Return a part of an answer, with its JSON if `keep`. Raises `UnexpectedAnswer`."""
    if keep and isinstance(value, dict):
        value = {**value, "answer": value}
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))[:100] or kind.__name__}: {fault['msg'][:300]}"
            for fault in error.errors(include_url=False)[:_FAULTS_NAMED]
        )
        raise UnexpectedAnswer(f"the answer cannot be read: {faults}") from error
