"""An error as it is answered: problem+json (RFC 9457), by the table in `problem_types`.

Its `detail` comes from a `ServiceError` or from the HTTP framework, never from any other exception:
those are logged and answered as a plain 500.
"""

from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from service.errors import ServiceError
from service.problem_types import INTERNAL, PROBLEM_TYPES, ProblemType

PROBLEM_JSON = "application/problem+json"


class Problem(BaseModel):
    """An RFC 9457 problem: what went wrong, for programs (`type`, `status`) and for people."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="stable identifier of the kind of problem")
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status, again")
    detail: str = Field(description="what was wrong, what was got and what was expected")
    request_id: str = Field(description="the answer's X-Request-ID, which the log knows too")
    errors: list[dict[str, Any]] | None = Field(None, description="each part of it on its own")
    decision: Literal["UNDECIDED"] | None = Field(None, description="of an inspection's problem")
    fail_safe: str | None = Field(None, description="with UNDECIDED: NG, REVIEW or STOP")

    @computed_field(description="the detail again, where inference clients look for it")  # type: ignore[prop-decorator]
    @property
    def error(self) -> str:
        """The member that clients of the Open Inference Protocol read."""
        return self.detail


def problem_of(error: Exception, request_id: str) -> Problem:
    """Describe an error to the client; anything but a `ServiceError` only as a plain 500."""
    if not isinstance(error, ServiceError):
        detail = "The service failed on this request; its log tells more under this request id."
        return _problem(INTERNAL, detail, request_id)
    return _problem(PROBLEM_TYPES[type(error)], str(error), request_id)


def http_problem(status: int, detail: str, request_id: str) -> Problem:
    """Describe an error that HTTP itself has the words for: no such route, wrong method."""
    title = HTTPStatus(status).phrase
    return Problem(
        type="about:blank", title=title, status=status, detail=detail, request_id=request_id
    )


def retry_headers(error: Exception) -> dict[str, str]:
    """Return the headers that an error's answer carries."""
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
