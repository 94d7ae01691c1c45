"""What every answer says of its part: a decision, and what to do where there is none.

Within a request that inspects, whatever refuses it says UNDECIDED and the configured fail-safe: the
request's context knows that it inspects, so no place that answers an error has to think of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from model.inspection import Decision

DECISION_HEADER = "X-Decision"
FAIL_SAFE_HEADER = "X-Fail-Safe"


_fail_safe: ContextVar[str | None] = ContextVar("fail_safe", default=None)


@contextmanager
def deciding(fail_safe: str | None) -> Iterator[None]:
    """Let `fail_safe` say within what to do without a decision; None in no need of one."""
    token = _fail_safe.set(fail_safe)
    try:
        yield
    finally:
        _fail_safe.reset(token)


def fail_safe() -> str | None:
    """Return what the line should do with an UNDECIDED part; None in a request for no decision."""
    return _fail_safe.get()


def decision_headers(decision: Decision) -> dict[str, str]:
    """Return an answer's headers, for clients that read no JSON."""
    safe = fail_safe()
    headers = {DECISION_HEADER: decision.value}
    if decision is Decision.UNDECIDED and safe is not None:
        headers[FAIL_SAFE_HEADER] = safe
    return headers
