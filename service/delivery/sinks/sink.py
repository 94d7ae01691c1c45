"""The Protocol of a sink, and the outcomes of a delivery."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from service.delivery.message import Parcel


class Reason(StrEnum):
    """Why a delivery failed; a label of metrics."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    SILENT = "silent"  # no acknowledgement in time
    DENIED = "denied"  # user, password, certificate or access list
    BUSY = "busy"  # the receiver is overloaded, full or read-only, or failed
    NOT_READY = "not-ready"  # the receiver lacks what it needs: a route, tables
    REFUSED = "refused"  # this message can never be taken: a dead letter
    BROKEN = "broken"  # an error of this service


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver acknowledged the message."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver can never take the message: it becomes a dead letter."""

    detail: str


@dataclass(frozen=True, slots=True)
class Held:
    """The receiver did not take the message, which is sent again.

    `retry_after_s` is the pause that the receiver asked for. `needs_help`: a person must change
    something, so retries are slow from now on.
    """

    reason: Reason
    detail: str
    retry_after_s: float | None = None
    needs_help: bool = False


Outcome: TypeAlias = Taken | Refused | Held

TAKEN = Taken()


class Sink(Protocol):
    """A receiver of parcels. Only `abort` may be called from another thread."""

    def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """Send parcels in order; return the outcomes of the first ones, at least one.

        Taken is an acknowledgement of the receiver. After a Held nothing counts: that parcel and
        all after it are sent again, though some may have arrived. No parcel of a station is sent
        before the last one of that station is taken or refused. Any error counts as Held.
        """
        ...

    def tend(self) -> Taken | Held | None:
        """Do what is due without a parcel; called twice a second while there is none.

        Held says that a parcel could not be sent now; Taken, that one could; None says nothing.
        """
        ...

    def close(self) -> None:
        """Finish and disconnect."""
        ...

    def abort(self) -> None:
        """Make a `deliver` that waits for its receiver return or raise soon."""
        ...


class SinkUnusable(ValueError):
    """A sink cannot be used with its settings, or lacks a package."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service is, for topics, names of clients and files."""

    site: str
    service: str
    node: str
    find_image: Callable[[str, datetime], Path | None] | None = None
    """Returns the file of an image, by its SHA-256 and the time of its inspection."""
