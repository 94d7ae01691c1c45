"""Shared reading of requests: headers, query, body, deadline, and a client that leaves."""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.access.guard import Caller, Guard
from service.api.limits import read_raw
from service.errors import ClientGone, DeadlineExceeded, InvalidRequest
from service.http.request_log import received_at, request_id_of
from service.inspection.options import InspectOptions
from service.versions.changes import Author
from service.workers.jobs import Priority

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
PRIORITY_HEADER = "X-Priority"

T = TypeVar("T")

_MAX_PARAMETERS = 100

_UNWATCHED_S = 0.02
"""A client that leaves is not noticed before its request's work has taken this long."""

_MILLISECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_PRIORITIES: Mapping[str, Priority] = {"high": Priority.HIGH, "normal": Priority.NORMAL}


def options_of(request: Request) -> InspectOptions:
    """Return the time limit and priority of a request's headers. Raises `InvalidRequest`."""
    return InspectOptions(
        timeout_s=timeout_s_of(request.headers),
        priority=priority_of(request.headers.get(PRIORITY_HEADER)),
        received_at=received_at(request.scope),
        hold_answer=request.scope["state"].get("hold_answer"),
    )


def author_of_change(request: Request, who: str, reason: str) -> Author:
    """Return who changes something and why, with the caller that the request was let in as."""
    caller: Caller = request.scope["state"]["caller"]
    return Author(who, reason, caller.name, request_id_of(request.scope))


def priority_of(name: str | None) -> Priority:
    """Return the priority with a name; None means normal. Raises `InvalidRequest`."""
    try:
        return _PRIORITIES[(name or "normal").lower()]
    except KeyError as error:
        raise InvalidRequest(
            f"priority must be one of {', '.join(_PRIORITIES)}, got {str(name)[:50]!r}"
        ) from error


def timeout_s_of(headers: Mapping[str, str]) -> float | None:
    """Return the time limit that a client sets for its request. Raises `InvalidRequest`."""
    given = headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    if not _MILLISECONDS.fullmatch(given.strip()) or float(given) == 0:
        raise InvalidRequest(
            f"{TIMEOUT_HEADER} must be a number of milliseconds above 0, got {given[:50]!r}"
        )
    return float(given) / 1000


def count_images(request: Request, count: int) -> None:
    """Count a request's images towards its caller's rate."""
    guard: Guard = request.app.state.guard
    guard.count_images(request.scope["state"].get("caller"), count)


async def check_query(request: Request) -> None:
    """Dependency that refuses query parameters with several different values.

    Raises `InvalidRequest`.
    """
    if request.scope["query_string"].count(b"&") > _MAX_PARAMETERS:
        raise InvalidRequest(f"a query may have {_MAX_PARAMETERS} parameters, got more")
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if values.setdefault(name, value) != value:
            raise InvalidRequest(
                f"the query has {name[:50]!r} twice, as {values[name][:50]!r} and {value[:50]!r}: "
                "expected it once"
            )


async def read_body(request: Request, max_bytes: int, deadline: float | None = None) -> bytes:
    """Read the whole body. Raises `BodyTooLarge`, `DeadlineExceeded` or `ClientGone`."""
    async with reading_until(deadline):
        return await read_raw(request, max_bytes)


@asynccontextmanager
async def reading_until(deadline: float | None) -> AsyncIterator[None]:
    """Raise `DeadlineExceeded` if the body is late, `ClientGone` if the client leaves.

    Read the body in this context. `deadline` is by the event loop's clock.
    """
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("the body did not arrive before the request's deadline") from error
    except ClientDisconnect as error:
        raise ClientGone("the connection closed before the end of the body") from error


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; if the client disconnects, cancel it and raise `ClientGone`."""
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(request, task)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.has_left and task.uncancel() == 0:
            raise ClientGone("the connection closed before the answer") from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels a task once the client has left.

    It begins after a moment, because most answers of a fast device come earlier.
    """

    def __init__(self, request: Request, task: asyncio.Task[Any]) -> None:
        self.has_left = False
        self._request = request
        self._task = task
        self._is_over = False
        self._leaving: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_UNWATCHED_S, self._begin)

    def end(self) -> None:
        """Cancel the task no more."""
        self._is_over = True
        self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()

    def _begin(self) -> None:
        self._leaving = asyncio.create_task(_client_leaves(self._request))
        self._leaving.add_done_callback(self._note)

    def _note(self, leaving: asyncio.Task[None]) -> None:
        if not self._is_over and not leaving.cancelled():
            self.has_left = True
            self._task.cancel()


async def _client_leaves(request: Request) -> None:
    """Wait for the disconnect, which is the only message after the body."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
