"""The threads that decode and draw."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from service.inspection.images.decoding import LARGE_PX

T = TypeVar("T")


class Threads:
    """A pool of threads, used from one event loop, and one thread for large images.

    Large images are processed one at a time, because each pixel takes several bytes, and never use
    the pool's threads.
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
        """Run `call` in a thread; `size` is the (width, height) of its image.

        `ended` is called on the loop when the thread is done, even if the future was cancelled. A
        future that is cancelled before its turn is not computed.
        """
        # Not `run_in_executor`, which would wake the event loop twice.
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
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(settle, outcome)

        pool = self._large if size[0] * size[1] > LARGE_PX else self._pool
        pool.submit(run)
        return future


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    result: T | None = None
    error: BaseException | None = None


def _outcome_of(call: Callable[[], T]) -> _Outcome[T]:
    """Return or catch the result of `call`, without the future in the error's traceback."""
    try:
        return _Outcome(call())
    except BaseException as error:
        return _Outcome(error=error)
