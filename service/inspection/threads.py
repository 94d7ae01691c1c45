"""The threads that decode and draw, and what their work may take at once."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from service.inspection.images.decoding import LARGE_PX

T = TypeVar("T")


class Threads:
    """A pool of threads, asked from one event loop, and one thread for what is large.

    What is large takes several bytes for each pixel, and so comes one after the other; it never
    takes a thread from what is not.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._large = ThreadPoolExecutor(1, "large-image")

    def start(
        self,
        call: Callable[[], T],
        ended: Callable[[], None] = lambda: None,
        size: tuple[int, int] = (0, 0),
    ) -> asyncio.Future[T]:
        """Run a call; `size` is the (width, height) of an image that it computes with.

        `ended` follows on the loop when the thread is done, waited for or not.
        Nothing is computed for a future that is cancelled before its turn. The loop is woken once:
        a future of `concurrent.futures` would take another time for itself.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(outcome: "_Outcome[T]") -> None:
            ended()
            if future.done():
                return
            if outcome.error is not None:
                future.set_exception(outcome.error)
            else:
                future.set_result(cast(T, outcome.result))

        def run() -> None:
            outcome: _Outcome[T] = _Outcome() if future.cancelled() else _outcome_of(call)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, outcome)

        pool = self._large if size[0] * size[1] > LARGE_PX else self._pool
        pool.submit(run)
        return future


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    result: T | None = None
    error: BaseException | None = None


def _outcome_of(call: Callable[[], T]) -> _Outcome[T]:
    """Make a call, in a frame that knows no future: the error's traceback keeps it alive."""
    try:
        return _Outcome(call())
    except BaseException as error:
        return _Outcome(error=error)
