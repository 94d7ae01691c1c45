"""Errors as problem+json (RFC 9457), according to the table in `problem_types`.

`detail` comes only from a `ServiceError` or the HTTP framework. Other exceptions are logged and
answered with a plain 500.
"""

from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from service.errors import OnOtherNode, ServiceError
from service.problem_types import INTERNAL, PROBLEM_TYPES, ProblemType

PROBLEM_JSON = "application/problem+json"


class Problem(BaseModel):
    """An RFC 9457 problem, for programs (`type`, `status`) and for people."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="stable identifier of the kind of problem")
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="the fault, the received value and the expected one")
    request_id: str = Field(description="the answer's X-Request-ID, also in the log")
    errors: list[dict[str, Any]] | None = Field(None, description="the single faults")
    decision: Literal["UNDECIDED"] | None = Field(None, description="only from inspecting routes")
    fail_safe: str | None = Field(None, description="with UNDECIDED: NG, REVIEW or STOP")
    node: str | None = Field(None, description="with `on-other-node`: the node to ask")

    @computed_field(description="same as `detail`, for Open Inference Protocol clients")  # type: ignore[prop-decorator]
    @property
    def error(self) -> str:
        """The member that clients of the Open Inference Protocol read."""
        return self.detail


def problem_of(error: Exception, request_id: str) -> Problem:
    """Return an error's problem; for anything but a `ServiceError`, a plain 500."""
    if not isinstance(error, ServiceError):
        detail = "the service failed on this request: search its log for this request id"
        return _problem(INTERNAL, detail, request_id)
    problem = _problem(PROBLEM_TYPES[type(error)], str(error), request_id)
    if isinstance(error, OnOtherNode):
        return problem.model_copy(update={"node": error.node})
    return problem


def http_problem(status: int, detail: str, request_id: str) -> Problem:
    """Return the problem of an error that HTTP defines: no such route, wrong method."""
    title = HTTPStatus(status).phrase
    return Problem(
        type="about:blank", title=title, status=status, detail=detail, request_id=request_id
    )


def retry_headers(error: Exception) -> dict[str, str]:
    """Return the headers of an error's answer."""
    if not isinstance(error, ServiceError):
        return {}
    headers = dict(PROBLEM_TYPES[type(error)].headers)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return headers


def _problem(kind: ProblemType, detail: str, request_id: str) -> Problem:
    return Problem(
        type=kind.uri, title=kind.title, status=kind.status, detail=detail, request_id=request_id
    )
