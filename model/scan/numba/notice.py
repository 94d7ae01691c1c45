"""Says in the log that kernels are compiled, which takes up to a minute at their first use."""

import logging
from typing import Any

from numba.core import event

LOGGER = "model.scan.numba"

_log = logging.getLogger(LOGGER)


class _Notice(event.Listener):  # type: ignore[misc]  # numba is untyped
    """Logs the first compilation of a kernel of this package in a process."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        """Log once; Numba calls this only where its cache on disk has no machine code."""
        if self._said or not event.data["dispatcher"].py_func.__module__.startswith("model."):
            return
        self._said = True
        _log.info("compiling kernels for this processor, once; this takes up to a minute")

    def on_end(self, event: Any) -> None:
        """Do nothing."""


def watch_compiler() -> None:
    """Log compilations from now on."""
    event.register("numba:compile", _Notice())
