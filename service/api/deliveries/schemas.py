"""Bodies and answers of `/deliveries`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, Field, model_validator

from service.api.schemas import Answer
from service.delivery.breaker import BreakerState
from service.delivery.ledger import DeadLetter
from service.delivery.sender import SinkStatus
from service.inspection.options import Strict


class SinkAnswer(Answer):
    """One sink."""

    sink: str = Field(description="its name in the settings")
    type: str = Field(description="mqtt, webhook, folder or postgresql")
    breaker: BreakerState = Field(
        description="closed: events are sent; open: held, the receiver failed five times in a row "
        "or needs help; half-open: one event is tried"
    )
    position: int = Field(description="number of the last event that it has taken")
    depth: int = Field(description="events that wait for it")
    oldest_age_s: float = Field(description="age of the first of these; 0 without any")
    delivered: int = Field(description="events acknowledged since the service started")
    dead_letters: int = Field(description="events that its receiver can never take")
    last_error: str | None = Field(description="the last failure since the service started")
    last_error_at: AwareDatetime | None = Field(description="when that was")
    next_try_s: float = Field(description="seconds until the next try; 0 if it is not held")
    reruns: list[str] = Field(description="what is sent again on request")

    @classmethod
    def of(cls, status: SinkStatus, dead_letters: int) -> Self:
        """Return the answer for a sink."""
        names = [name for name in cls.model_fields if name != "dead_letters"]
        values = {name: getattr(status, name) for name in names}
        values["reruns"] = list(status.reruns)
        return cls(**values, dead_letters=dead_letters)


class DeliveriesAnswer(Answer):
    """Every sink, by name."""

    sinks: list[SinkAnswer]


class DeadLetterAnswer(Answer):
    """An event that a receiver can never take."""

    number: int = Field(description="the event's number in the journal")
    event_id: UUID
    reason: str = Field(description="what the receiver said")
    at: AwareDatetime = Field(description="when it was last tried")

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Return the answer for a dead letter."""
        return cls(
            number=letter.number, event_id=letter.event_id, reason=letter.reason, at=letter.at
        )


class DeadLettersAnswer(Answer):
    """A sink's dead letters, the newest first."""

    dead_letters: Sequence[DeadLetterAnswer]


class RetryAnswer(Answer):
    """What is tried again now."""

    dead_letters: int = Field(description="dead letters that are sent again")


class ReplayBody(Strict):
    """The events to send again."""

    since: AwareDatetime = Field(description="journaled at this time or later")
    until: AwareDatetime = Field(description="journaled before this time")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.since >= self.until:
            raise ValueError(f"since must be before until, got {self.since} and {self.until}")
        return self


class ReplayAnswer(Answer):
    """What is sent again, among new events."""

    since: datetime
    until: datetime
    through: int = Field(description="number of the last event that may be sent again")
