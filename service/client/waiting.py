"""Waiting until a deadline, with and without an event loop.

A socket's timeout restarts with every byte, so a server that drips its answer never triggers it.
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
    """Return or raise the outcome of `call`; raise `httpx.ReadTimeout` after `seconds`.

    The call runs in a daemon thread, which does not keep the program from exiting.
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
    """Send a request and read the whole answer, within its time and size limit."""
    deadline = time.monotonic() + step.longest_s
    request = step.build(http)
    answer = http.send(request, stream=True)
    try:
        body = AnswerBody(answer, step.call.most_answer_bytes)
        if answer.is_stream_consumed:  # the caller's transport has already read it
            return answer
        for piece in answer.iter_raw():
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer was not complete in time", request=request)
            body.take(piece)
    finally:
        answer.close()
    return body.response()


async def receive_async(http: httpx.AsyncClient, step: Send) -> httpx.Response:
    """Send a request and read the whole answer, within its size limit."""
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
