"""Handle Ctrl-C as a request to stop after the current step."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_interrupt(notice: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after the first Ctrl-C, which also calls `notice`.

    A second Ctrl-C raises `KeyboardInterrupt`. Only for the main thread.
    """
    requested = False

    def request(_signal: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        notice()

    before = signal.signal(signal.SIGINT, request)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)
