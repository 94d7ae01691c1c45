"""Waiting no longer than a deadline, in a program without an event loop.

Timeouts of sockets begin anew with every byte, so a server that lets an answer drip outlasts any.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

import httpx

from service.client.exchange import Send

T = TypeVar("T")

_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns; raises what it raises, or `httpx.ReadTimeout` when time is up.

    The call runs in a thread of its own, which keeps no program from ending.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="mambaad-client", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        raise httpx.ReadTimeout("the answer was not complete in time") from error


def receive(http: httpx.Client, step: Send) -> httpx.Response:
    """Send a request and read the whole answer, but no further than its time."""
    deadline = time.monotonic() + step.longest_s
    request = step.build(http)
    answer = http.send(request, stream=True)
    pieces = []
    try:
        for piece in answer.iter_bytes():
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer was not complete in time", request=request)
            pieces.append(piece)
    finally:
        answer.close()
    headers = {name: value for name, value in answer.headers.items() if name not in _OF_THE_BODY}
    return httpx.Response(
        answer.status_code, headers=headers, content=b"".join(pieces), request=request
    )
