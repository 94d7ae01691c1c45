"""Waiting no longer than a deadline, with and without an event loop.

Timeouts of sockets begin anew with every byte, so a server that lets an answer drip outlasts any.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

import httpx

from service.client.bodies import AnswerBody
from service.client.exchange import Send

T = TypeVar("T")


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
    """Send a request and read the whole answer, no further than its time and its bound."""
    deadline = time.monotonic() + step.longest_s
    request = step.build(http)
    answer = http.send(request, stream=True)
    try:
        body = AnswerBody(answer, step.call.most_answer_bytes)
        if answer.is_stream_consumed:  # a transport of the caller's own has read it
            return answer
        for piece in answer.iter_raw():
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer was not complete in time", request=request)
            body.take(piece)
    finally:
        answer.close()
    return body.response()


async def receive_async(http: httpx.AsyncClient, step: Send) -> httpx.Response:
    """Send a request and read the whole answer, no further than its bound."""
    answer = await http.send(step.build(http), stream=True)
    try:
        body = AnswerBody(answer, step.call.most_answer_bytes)
        if answer.is_stream_consumed:
            return answer
        async for piece in answer.aiter_raw():
            body.take(piece)
    finally:
        await answer.aclose()
    return body.response()
