"""Ends a worker's process when the service's process or one of its own threads ends."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait

logger = logging.getLogger("service.ending")


def or_die(work: Callable[[], None]) -> Callable[[], None]:
    """Wrap a thread's work: an error ends the process, and the service starts another."""

    def guarded() -> None:
        try:
            work()
        except BaseException:
            logger.exception(
                "the worker ends: its thread %s failed", threading.current_thread().name
            )
            os._exit(1)

    return guarded


def leave_with_parent() -> None:
    """End with the parent process; ignore signals from a terminal, which the parent handles."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
