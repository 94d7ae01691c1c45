"""How a worker's process ends: with the process that spawned it, or with any of its threads."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait

logger = logging.getLogger("service.ending")


def or_die(work: Callable[[], None]) -> Callable[[], None]:
    """End a worker that has lost a thread: it is none any more, and will be replaced."""

    def guarded() -> None:
        try:
            work()
        except BaseException:
            logger.exception("the worker cannot go on")
            os._exit(1)

    return guarded


def leave_with_parent() -> None:
    """Die with the parent, and only then: its terminal's signals are for the parent to handle."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
