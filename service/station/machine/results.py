"""The buffer of results, and their handshake: fields, ResultsValid, ResultsAck."""

import math
from collections import deque
from collections.abc import Iterable

from service.station.machine.images import PlcImage, ResultFields

CAPACITY = 8
"""Results that wait for the PLC; a full buffer takes Ready off."""


class Results:
    """Shows one result after another.

    Three images differ for each result: ResultsValid off, the fields, ResultsValid on. So a PLC
    never sees ResultsValid over fields of which only some are new.
    """

    def __init__(self, restored: Iterable[tuple[int, ResultFields]] = ()) -> None:
        self._waiting = deque(restored)
        self._shown_job: int | None = None
        self._valid_since_ms = math.inf
        self._is_late = False
        self._ack_was_low = True
        self._was_valid = False
        self.fields = ResultFields()
        self.valid = False

    def __len__(self) -> int:
        return len(self._waiting)

    def is_full(self, inputs: PlcImage) -> bool:
        """Whether no further part may be taken."""
        return inputs.buffer_enable and len(self._waiting) >= CAPACITY

    def add(self, job: int, fields: ResultFields, inputs: PlcImage) -> list[int]:
        """Add a result; return the jobs that it replaces, which is all of them without a buffer."""
        replaced: list[int] = []
        if not inputs.buffer_enable:
            replaced = [waiting for waiting, _ in self._waiting]
            self._waiting.clear()
            self._withdraw()
        self._waiting.append((job, fields))
        return replaced

    def take(self) -> int | None:
        """Remove the oldest result; return its job, or None if there is no result."""
        if not self._waiting:
            return None
        job, _ = self._waiting.popleft()
        self._withdraw()
        return job

    def acknowledged(self, inputs: PlcImage) -> int | None:
        """Return the job whose result the PLC has acknowledged in this step."""
        is_rising = inputs.results_ack and self._ack_was_low
        self._ack_was_low = not inputs.results_ack
        return self.take() if is_rising and self.valid else None

    def show(self, inputs: PlcImage, now_ms: float) -> bool:
        """Go one image further; return whether the next image follows at once."""
        if not inputs.trigger_enable:
            self._withdraw()
            self._was_valid = False
            return False
        if self.valid:
            return False
        if self._was_valid:
            self._was_valid = False
            return bool(self._waiting)
        if not self._waiting or inputs.results_ack:
            return False
        job, fields = self._waiting[0]
        if self._shown_job != job:
            self._shown_job, self.fields = job, fields
            return True
        self.valid = self._was_valid = True
        self._valid_since_ms = now_ms
        return False

    def becomes_late(self, now_ms: float, timeout_ms: float) -> bool:
        """Return True once for each result that the PLC has not acknowledged in time."""
        if self._is_late or now_ms < self.late_at_ms(timeout_ms):
            return False
        self._is_late = True
        return True

    def late_at_ms(self, timeout_ms: float) -> float:
        """Return when the shown result is late; infinity if none is or there is no limit."""
        if self._is_late or not timeout_ms:
            return math.inf
        return self._valid_since_ms + timeout_ms

    def _withdraw(self) -> None:
        self.valid = self._is_late = False
        self._shown_job = None
        self._valid_since_ms = math.inf
