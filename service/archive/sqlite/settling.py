"""Tells whoever waits for writes how they ended; one wake-up of an event loop for a group.

settle(group)
"""

import asyncio
import concurrent.futures
from collections.abc import Iterable
from contextlib import suppress

from service.archive.sqlite.waiting import Write


def settle(group: Iterable[Write]) -> None:
    """Resolve the futures of writes that have a value or an error; call it from any thread."""
    of_loop: dict[asyncio.AbstractEventLoop, list[Write]] = {}
    for write in group:
        if isinstance(write.future, asyncio.Future):
            of_loop.setdefault(write.future.get_loop(), []).append(write)
        elif write.future is not None:
            _resolve(write.future, write)
    for loop, writes in of_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(_resolve_all, writes)


def _resolve_all(writes: Iterable[Write]) -> None:
    for write in writes:
        if not write.future.done():
            _resolve(write.future, write)


def _resolve(
    future: "asyncio.Future[object] | concurrent.futures.Future[object]", write: Write
) -> None:
    if write.error is None:
        future.set_result(write.value)
    else:
        future.set_exception(write.error)
