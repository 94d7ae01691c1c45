"""The routes and thresholds of the shared state, as this node serves by them.

    shared = SharedDeployment(link, knowledge, node="line-1", metrics=metrics)
    shared.commit(shared.state.with_route("bolt", assignment), record)

It keeps the Protocol of `service.versions.state_store`. A change is a compare-and-set on the
version that this node serves by. One service calls one of its methods at a time.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from service.access.keys import ApiKey
from service.errors import Conflict, SharedStateUnavailable
from service.shared.document import SharedState
from service.shared.knowledge import Knowledge
from service.shared.link import Change, Link
from service.telemetry.metrics import Metrics
from service.versions.state import AuditRecord, State
from service.versions.state_store import Update

logger = logging.getLogger("service.sharing")

S = TypeVar("S")
T = TypeVar("T")

_RETRY_AFTER_S = 5


class SharedDeployment:
    """The state that this node applies, and changes of the shared one."""

    def __init__(self, link: Link, knowledge: Knowledge, node: str, metrics: Metrics) -> None:
        self.is_shared = True
        self._link = link
        self._knowledge = knowledge
        self._node = node
        self._metrics = metrics
        self.applied = knowledge.newest
        self.hold: str | None = None
        self.failure_of: Callable[[], str | None] = lambda: None
        metrics.state_version.set_function(lambda: self.applied.place.version)
        metrics.state_contact_age.set_function(lambda: knowledge.contact_age_s)
        metrics.state_held.set_function(lambda: float(self.held_because is not None))

    @property
    def state(self) -> State:
        """The routes and thresholds that this node serves by."""
        return self.applied.deployment

    @property
    def audit(self) -> Sequence[AuditRecord]:
        """All changes of all nodes, the oldest first."""
        return self._knowledge.audit

    @property
    def knowledge(self) -> Knowledge:
        """What this node knows of the shared state."""
        return self._knowledge

    @property
    def held_because(self) -> str | None:
        """Why this node does not apply the state of the PostgreSQL; None if it does."""
        if self._knowledge.refusal is not None:
            return self._knowledge.refusal
        return self.hold if self.pending() is not None else None

    def pending(self) -> Update | None:
        """Return the newest state, if this node does not serve by it yet."""
        newest = self._knowledge.newest
        if newest.place == self.applied.place:
            return None

        def adopt() -> bool:
            is_newest = self._knowledge.newest.place == newest.place
            if is_newest:
                self.applied, self.hold = newest, None
            return is_newest

        return Update(newest.deployment, adopt)

    def newer(self, record: AuditRecord) -> Update | None:
        """Read what other nodes have changed. Raises `SharedStateUnavailable`.

        While `failure_of` says why the PostgreSQL is away, it is not asked: changes do not queue.
        """
        with self._refusing(record):
            if failure := self.failure_of():
                raise SharedStateUnavailable(failure, _RETRY_AFTER_S)
            knowledge = self._knowledge
            known = knowledge.newest.place
            knowledge.take(self._link.read(known, knowledge.last_number))
            self._check_followed()
        return self.pending()

    def commit(self, state: State, record: AuditRecord) -> None:
        """Write a new state. Raises `Conflict` or `SharedStateUnavailable`."""

        def write(change: Change, present: SharedState) -> SharedState:
            if present.place != self.applied.place:
                raise self._conflict(present)
            following = present.followed_by(record, self._node, deployment=state)
            change.write(following, record)
            return following

        self.applied = self._change(record, write, lambda following: following)

    def record(self, record: AuditRecord, make: Callable[[], T]) -> T:
        """Write the record of a change that is no state, and make the change.

        Raises `SharedStateUnavailable`, or as `make` does; then there is neither. If the
        PostgreSQL ends between the two, the record is with the refused changes of this node.
        """

        def write(change: Change, _present: SharedState) -> None:
            change.add([record], self._node)

        return self._change(record, write, lambda _: make())

    def change_keys(
        self,
        record: AuditRecord,
        change_of: Callable[[Sequence[ApiKey]], Sequence[ApiKey]],
    ) -> None:
        """Replace the keys of the newest state, which this node need not serve by yet.

        Raises `SharedStateUnavailable`, or as `change_of` does.
        """

        def write(change: Change, present: SharedState) -> tuple[SharedState, SharedState]:
            following = present.followed_by(record, self._node, keys=change_of(present.keys))
            change.write(following, record)
            return present, following

        before, after = self._change(record, write, lambda pair: pair)
        if before.place == self.applied.place:  # else the routes before are still to be applied
            self.applied = after

    def _change(
        self,
        record: AuditRecord,
        write: Callable[[Change, SharedState], S],
        finish: Callable[[S], T],
    ) -> T:
        """Make a change in a transaction, and learn what it leads to.

        `finish` is called when all is written, and nothing but the commit can fail any more.
        """
        knowledge = self._knowledge
        known, after = knowledge.newest.place, knowledge.last_number
        with self._refusing(record):
            with self._link.changing() as change:
                before = change.reading(known, after)
                if before.place != known:
                    knowledge.take(before)
                    self._check_followed()
                assert change.present is not None, "`reading` found a state"
                written = write(change, change.present)
                reading = change.reading(known, after)
                made = finish(written)
            knowledge.take(reading)
        return made

    def _check_followed(self) -> None:
        """Raise `SharedStateUnavailable` if the PostgreSQL's state is not this node's to change."""
        if self._knowledge.refusal is not None:
            raise SharedStateUnavailable(self._knowledge.refusal, _RETRY_AFTER_S)

    @contextmanager
    def _refusing(self, record: AuditRecord) -> Iterator[None]:
        """Note a change that is refused because of the PostgreSQL, on this node."""
        try:
            yield
        except SharedStateUnavailable as error:
            self._metrics.state_changes_refused.inc()
            self._knowledge.note_refused(record, str(error))
            logger.warning("a change by %s was refused: %s", record.who, error)
            raise

    def _conflict(self, present: SharedState) -> Conflict:
        return Conflict(
            f"{present.who} has changed the shared state on {present.node} meanwhile: it has "
            f"version {present.place.version}, and this change was made for version "
            f"{self.applied.place.version}. Nothing else was changed: look at the state again"
        )
