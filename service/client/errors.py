"""The errors of the client; each means that a part was not inspected.

InspectionError
├── CannotConnect           no connection; nothing was sent
├── ConnectionLost          the connection broke after something was sent
├── UnexpectedAnswer        the client does not understand the answer
└── Problem                 the service answered with a problem (RFC 9457)
    ├── InvalidRequest      400, 405, 409, 422
    ├── NotAllowed          401, 403: the API key
    ├── UnknownCategory     404
    ├── UnknownInspection   404: the archive has no such inspection
    ├── ImageRefused        413, 415, and 422 for an image that cannot be decoded
    ├── Unavailable         429, 503: try again after `retry_after_s`
    ├── DeadlineExceeded    504, or the client's timeout
    └── InspectionFailed    500 and any other status
"""

from collections.abc import Mapping, Sequence
from typing import Any

_DETAIL_CHARACTERS = 500


class InspectionError(Exception):
    """Base of all errors: the part was not inspected."""


class CannotConnect(InspectionError):
    """There was no connection, so nothing was sent."""


class ConnectionLost(InspectionError):
    """The connection broke after something was sent: the service may have inspected the part."""


class UnexpectedAnswer(InspectionError):
    """The answer cannot be read or does not fit the request."""


class Problem(InspectionError):
    """A problem from the service; `kind` is the last word of its `type`.

    `fail_safe` is the configured treatment of a part that was not inspected: NG, REVIEW or STOP.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        request_id: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after_s: float | None = None,
        fail_safe: str | None = None,
    ) -> None:
        super().__init__(f"{title} ({status}): {detail}" if detail else f"{title} ({status})")
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.fail_safe = fail_safe


class InvalidRequest(Problem):
    """The request is invalid."""


class NotAllowed(Problem):
    """The API key is missing, unknown, or lacks the scope."""


class UnknownCategory(Problem):
    """No checkpoint serves the category; `detail` lists the served ones."""


class UnknownInspection(Problem):
    """The archive has no such inspection: it was never recorded, or was deleted."""


class ImageRefused(Problem):
    """The image is too large, damaged, or in an unsupported format."""


class Unavailable(Problem):
    """The service cannot inspect the part now; try again after `retry_after_s`."""


class DeadlineExceeded(Problem):
    """There was no answer in time: treat the part as not inspected."""


class InspectionFailed(Problem):
    """The service failed on this part."""


_BY_STATUS: dict[int, type[Problem]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: UnknownCategory,
    405: InvalidRequest,
    409: InvalidRequest,
    413: ImageRefused,
    415: ImageRefused,
    422: InvalidRequest,
    429: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}
_BY_KIND: dict[str, type[Problem]] = {
    "undecodable-image": ImageRefused,
    "unknown-inspection": UnknownInspection,
    "no-archive": InvalidRequest,
}


def problem_of(status: int, body: Mapping[str, Any], retry_after_s: float | None = None) -> Problem:
    """Return a problem+json object as an exception; `status` replaces missing members."""
    kind = str(body.get("type") or "about:blank").rpartition(":")[2].rpartition("/")[2]
    make = _BY_KIND.get(kind) or _BY_STATUS.get(status, InspectionFailed)
    errors = body.get("errors")
    return make(
        status,
        kind,
        str(body.get("title") or f"HTTP {status}"),
        str(body.get("detail") or "")[:_DETAIL_CHARACTERS],
        _text(body, "request_id"),
        errors if isinstance(errors, list) else (),
        retry_after_s,
        _text(body, "fail_safe"),
    )


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return None if value is None else str(value)


def out_of_time(timeout_s: float) -> DeadlineExceeded:
    """Return the error of the client's own timeout."""
    return DeadlineExceeded(
        504,
        "deadline-exceeded",
        "Not inspected in time",
        f"no answer within {1000 * timeout_s:g} ms",
    )
