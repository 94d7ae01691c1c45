"""Ctrl-C as a wish to stop well, rather than as an accident."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_interrupt(notice: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Give a question, "stop?", that a first Ctrl-C turns to yes after calling `notice`.

    A second Ctrl-C raises `KeyboardInterrupt` as ever. Only the main thread may use this.
    """
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        notice()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
