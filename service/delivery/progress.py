"""How far a sink has got in the journal, and how much waits."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from service.delivery.ledger import DeadLetter, Ledger
from service.errors import JournalUnavailable

logger = logging.getLogger("service.progress")

_TRY_AGAIN_S = 10.0
_SAVE_EVERY_S = 1.0
"""Positions are saved this often, so that a fast sink does not keep the disk from inspections."""


class Progress:
    """A sink's position; the sink's thread alone changes it.

    progress = Progress(ledger, at_oldest=False)
    progress.begin()                   # reads the position
    progress.move(17)
    """

    def __init__(self, ledger: Ledger, *, at_oldest: bool) -> None:
        self._ledger = ledger
        self._at_oldest = at_oldest
        self._position: int | None = None
        self._saved = 0
        self._save_at = 0.0
        self._newest = 0
        self.head_at: datetime | None = None
        """When the next event was journaled; None if it was not read yet."""

    @property
    def position(self) -> int:
        """Number of the last event that the sink has taken; 0 before `begin`."""
        return self._position or 0

    @property
    def depth(self) -> int:
        """Events after the position."""
        return 0 if self._position is None else max(0, self._newest - self._position)

    @property
    def oldest_age_s(self) -> float:
        """Age of the next event; 0 if none waits."""
        head_at = self.head_at
        if head_at is None or not self.depth:
            return 0.0
        return max(0.0, (datetime.now(UTC) - head_at).total_seconds())

    def notice(self, number: int) -> None:
        """Note the number of the newest event; from any thread."""
        self._newest = max(self._newest, number)

    @property
    def has_begun(self) -> bool:
        """Whether the position was read."""
        return self._position is not None

    def begin(self) -> None:
        """Read the position from the journal."""
        self._position = self._saved = self._ledger.begin(at_oldest=self._at_oldest)

    def move(self, position: int, dead: Sequence[DeadLetter] = ()) -> None:
        """Move on. Dead letters are saved first: if that fails, the position stays."""
        if dead:
            self._ledger.save(position, dead)
            self._saved = position
        self._position = position
        self.save_when_due()

    def save_when_due(self) -> None:
        """Save the position at most once a second; a journal that cannot be written may wait."""
        if self.position == self._saved or time.monotonic() < self._save_at:
            return
        try:
            self.save()
        except JournalUnavailable as error:
            self._save_at = time.monotonic() + _TRY_AGAIN_S
            logger.warning("a sink's position is not saved, so results may come again: %s", error)

    def save(self) -> None:
        """Save the position if it has changed."""
        if self.position != self._saved:
            position = self.position
            self._ledger.save(position)
            self._saved = position
            self._save_at = time.monotonic() + _SAVE_EVERY_S
