"""The headers with a part's decision, and the fail-safe for an UNDECIDED part.

A request to an inspecting route sets the fail-safe in its context, so that every error answer adds
UNDECIDED and the fail-safe without knowing the route.
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
    """Set the fail-safe in this context; None for a request that does not inspect."""
    token = _fail_safe.set(fail_safe)
    try:
        yield
    finally:
        _fail_safe.reset(token)


def fail_safe() -> str | None:
    """Return how to treat an UNDECIDED part; None in a request that does not inspect."""
    return _fail_safe.get()


def decision_headers(decision: Decision) -> dict[str, str]:
    """Return an answer's decision headers, for clients that do not parse JSON."""
    safe = fail_safe()
    headers = {DECISION_HEADER: decision.value}
    if decision is Decision.UNDECIDED and safe is not None:
        headers[FAIL_SAFE_HEADER] = safe
    return headers
