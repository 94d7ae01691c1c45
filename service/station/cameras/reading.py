"""The thread that reads one camera all the time, so that no old frame waits in a buffer.

reader = Reader("top", source)
reader.want(Want(after_s=time.monotonic(), deliver=print))
reader.stop()
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from service.station.cameras.sources.source import FrameSource, Pixels, SourceLost

T = TypeVar("T")

logger = logging.getLogger("service.cameras")

_PAUSE_S = 0.5
"""Between two attempts to connect."""
_CHECK_S = 2.0
"""Between two looks at a camera that waits for its trigger."""
_STANDS_STILL_S = 5.0
"""A camera without a frame for so long is not up."""
_HANGS_S = 30.0
"""A call of a driver that has not returned by then never will."""


_THREAD = "camera "


def threads_left() -> int:
    """Return how many threads of cameras run: those whose driver has not returned to be stopped."""
    return sum(thread.name.startswith(_THREAD) for thread in threading.enumerate())


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """Asks for the first frame taken after a moment; `deliver` is called in the reader's thread."""

    after_s: float
    deliver: Callable[[Pixels | bytes, float], None]


class Reader:
    """Reads a source in a daemon thread, and opens it again when it is lost."""

    def __init__(self, name: str, source: FrameSource) -> None:
        self.problem: str | None = None
        """Why the camera is away; None while it is there, and before the first attempt."""
        self._name = name
        self._source = source
        self._changed = threading.Condition()
        self._want: Want | None = None
        self._is_stopped = False
        self._is_connected = False
        self._began_s: float | None = None
        self._latest_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"{_THREAD}{name}", daemon=True)
        self._thread.start()

    @property
    def is_up(self) -> bool | None:
        """Whether frames come; None before the first attempt to connect has ended."""
        if not self._is_connected:
            return None if self.problem is None else False
        began_s = self._began_s
        if self._source.is_triggered:
            return began_s is None or time.monotonic() - began_s < _STANDS_STILL_S
        return time.monotonic() - self._latest_s < _STANDS_STILL_S

    @property
    def hangs(self) -> bool:
        """Whether the driver does not return."""
        began_s = self._began_s
        return began_s is not None and time.monotonic() - began_s > _HANGS_S

    def want(self, want: Want) -> None:
        """Ask for a frame; an earlier wish is forgotten."""
        with self._changed:
            self._want = want
            self._changed.notify()

    def forget(self, want: Want) -> None:
        """Take a wish back."""
        with self._changed:
            if self._want is want:
                self._want = None

    def stop(self) -> None:
        """Let the thread end after its present call."""
        with self._changed:
            self._is_stopped = True
            self._want = None
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, but no longer."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._call(self._source.open)
                self._connected()
                self._read()
            except SourceLost as error:
                self._lost(str(error))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                if problem != self.problem:
                    logger.exception("camera %s", self._name)
                self._lost(problem)
            finally:
                self._is_connected = False
                with suppress(Exception):
                    self._call(self._source.close)
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, _PAUSE_S)

    def _read(self) -> None:
        """Read frames until the thread is stopped. Raises `SourceLost`."""
        while self._may_read():
            taken_after_s = self._call(self._source.grab)
            self._latest_s = time.monotonic()
            with self._changed:
                want = self._want
                if want is None or taken_after_s < want.after_s:
                    continue
                self._want = None
            want.deliver(self._call(self._source.retrieve), taken_after_s)

    def _may_read(self) -> bool:
        """Return False to stop; a triggered camera waits for a wish. Raises `SourceLost`."""
        while self._source.is_triggered:
            with self._changed:
                ready = self._changed.wait_for(
                    lambda: self._is_stopped or self._want is not None, _CHECK_S
                )
            if ready:
                break
            self._call(self._source.check)
        return not self._is_stopped

    def _call(self, step: Callable[[], T]) -> T:
        """Note when a call of the driver begins, so that one that hangs is seen."""
        self._began_s = time.monotonic()
        try:
            return step()
        finally:
            self._began_s = None

    def _connected(self) -> None:
        if self.problem is not None:
            logger.warning("camera %s is back", self._name)
        self._latest_s = time.monotonic()
        self._is_connected = True
        self.problem = None

    def _lost(self, problem: str) -> None:
        if problem != self.problem and not self._is_stopped:
            logger.warning("camera %s is away: %s", self._name, problem)
        self.problem = problem
