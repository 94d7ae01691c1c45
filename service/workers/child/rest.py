"""Returns the memory of past batches to the system when a worker has had nothing to do for a while.

Not after every batch: the next one would have to get its pages again, which takes milliseconds.
"""

import time
from collections.abc import Callable

from service.workers.child.threads import return_free_memory

_REST_S = 30.0


class Rest:
    """Calls `tidy` once in each rest; belongs to a worker that calls `tick` again and again.

    A worker is at rest `after_s` after its last batch.
    """

    def __init__(
        self,
        after_s: float = _REST_S,
        tidy: Callable[[], None] = return_free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._after_s = after_s
        self._tidy = tidy
        self._clock = clock
        self._latest_s: float | None = None

    def interrupt(self) -> None:
        """Note that a batch is computed."""
        self._latest_s = self._clock()

    def tick(self) -> None:
        """Tidy if a rest has begun since the last tick."""
        latest_s = self._latest_s
        if latest_s is not None and self._clock() - latest_s >= self._after_s:
            self._latest_s = None
            self._tidy()
