"""The Protocol of what keeps routes and thresholds: `state.Deployment` in a folder, or shared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.versions.state import AuditRecord, State

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Update:
    """A state that another node has written.

    `adopt` makes it the present one, and returns whether it still was the newest.
    """

    state: State
    adopt: Callable[[], bool]


class StateStore(Protocol):
    """Keeps the state and its audit: in a folder, or in a PostgreSQL that nodes share.

    Every call but the properties may block, and raises `StateNotWritten` or
    `SharedStateUnavailable` if the place cannot be written; then nothing has changed.
    """

    is_shared: bool
    """Whether other nodes may change it, so that `newer` must be asked."""

    @property
    def state(self) -> State:
        """The state that this node serves by."""
        ...

    @property
    def audit(self) -> Sequence[AuditRecord]:
        """All changes, the oldest first."""
        ...

    def newer(self, record: AuditRecord) -> Update | None:
        """Return a state of another node to apply before a change; `record` is of that change."""
        ...

    def commit(self, state: State, record: AuditRecord) -> None:
        """Write a new state and its audit record.

        Raises `Conflict` if another node has changed the state since `newer`.
        """
        ...

    def record(self, record: AuditRecord, make: Callable[[], T]) -> T:
        """Write the audit record of a change that is no state, and make the change."""
        ...
