"""What is sent again because a person asked: a period's events, or dead letters."""

from dataclasses import dataclass, field
from typing import Protocol

from service.delivery.outbox import Outbox, Period, Reading


class Rerun(Protocol):
    """Parcels to send again, in the order of their numbers."""

    after: int
    """Number of the last event that was sent again."""

    is_of_dead_letters: bool

    def read(self, outbox: Outbox, limit: int) -> Reading | None:
        """Return the next parcels; None at the end."""
        ...


@dataclass(slots=True)
class Replay:
    """The events of a period that the sink has already passed."""

    period: Period
    after: int = 0
    is_of_dead_letters: bool = field(default=False, init=False)

    def read(self, outbox: Outbox, limit: int) -> Reading | None:
        """Return the next parcels; None at the end."""
        return outbox.read_period(self.period, self.after, limit)

    def __str__(self) -> str:
        return f"the events from {self.period.since} to {self.period.until}"


@dataclass(slots=True)
class Retry:
    """The dead letters of a sink."""

    sink: str
    after: int = 0
    is_of_dead_letters: bool = field(default=True, init=False)

    def read(self, outbox: Outbox, limit: int) -> Reading | None:
        """Return the next parcels; None at the end."""
        return outbox.read_dead(self.sink, self.after, limit)

    def __str__(self) -> str:
        return "the dead letters"
