"""The headers with a part's decision, and the fail-safe for an UNDECIDED part.

A request to an inspecting route sets the fail-safe in its context, so that every error answer adds
UNDECIDED and the fail-safe without knowing the route.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from model.inspection import Decision
from service.http.problems import Problem

DECISION_HEADER = "X-Decision"
FAIL_SAFE_HEADER = "X-Fail-Safe"


@dataclass(slots=True)
class Deciding:
    """A request to an inspecting route: its fail-safe, and the problem that it was answered."""

    fail_safe: str
    problem: Problem | None = None


_deciding: ContextVar[Deciding | None] = ContextVar("deciding", default=None)


@contextmanager
def deciding(fail_safe: str | None) -> Iterator[None]:
    """Set the fail-safe in this context; None for a request that does not inspect."""
    token = _deciding.set(None if fail_safe is None else Deciding(fail_safe))
    try:
        yield
    finally:
        _deciding.reset(token)


def request_that_decides() -> Deciding | None:
    """Return the context's request to an inspecting route; None in any other request."""
    return _deciding.get()


def fail_safe() -> str | None:
    """Return how to treat an UNDECIDED part; None in a request that does not inspect."""
    request = _deciding.get()
    return None if request is None else request.fail_safe


def decision_headers(decision: Decision) -> dict[str, str]:
    """Return an answer's decision headers, for clients that do not parse JSON."""
    safe = fail_safe()
    headers = {DECISION_HEADER: decision.value}
    if decision is Decision.UNDECIDED and safe is not None:
        headers[FAIL_SAFE_HEADER] = safe
    return headers
