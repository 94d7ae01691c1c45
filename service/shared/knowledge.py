"""What a node knows of the shared state: the newest one that it may follow, and the audit."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from service.shared.copy import Copy
from service.shared.document import Relation, SharedState
from service.shared.rows import Numbered, Reading
from service.versions.state import AuditRecord

logger = logging.getLogger("service.knowledge")

_CONFIRM = (
    "nothing of it is applied. If it is to be the state from now on, run `mambaad state confirm`; "
    "to bring this node's last state there instead, run `mambaad state import --last "
    "<state_dir> --replace`"
)


class Knowledge:
    """The newest state and the audit, in memory and in a copy. Threads may share it."""

    def __init__(
        self,
        copy: Copy,
        newest: SharedState,
        audit: Sequence[Numbered],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._copy = copy
        self._clock = clock
        self._lock = threading.Lock()
        self._contact_at = clock()
        self.newest = newest
        self._is_copied = False
        self.numbered = list(audit)
        self.audit = [entry.record for entry in audit]
        self.refused = copy.read_refused()
        self.refusal: str | None = None
        self.on_newer: Callable[[], None] = lambda: None

    @property
    def last_number(self) -> int:
        """The number of the last record of the audit that is known."""
        return self.numbered[-1].number if self.numbered else 0

    @property
    def contact_age_s(self) -> float:
        """How long ago the PostgreSQL last answered."""
        return self._clock() - self._contact_at

    def take(self, reading: Reading) -> None:
        """Learn what was read, unless it is older than this, or of another history.

        A state is on this node's disk before anything follows it, unless the disk refuses: a key
        that was withdrawn elsewhere must not stay valid for that.
        """
        with self._lock:
            self._contact_at = self._clock()
            # Another thread may have read later and been here first.
            is_late = reading.place.generation == self.newest.place.generation and (
                reading.relation is Relation.NEWER
                and reading.place.version <= self.newest.place.version
            )
            if is_late:
                return
            self._judge(reading)
            if self.refusal is not None:
                return
            if reading.state is not None and reading.place != self.newest.place:
                is_new_generation = reading.place.generation != self.newest.place.generation
                self._learn(reading.records, replace=is_new_generation)
                self.newest, self._is_copied = reading.state, False
                self._keep_copy()
                self.on_newer()
            else:
                self._learn(reading.records, replace=False)
                self._keep_copy()

    def note_refused(self, record: AuditRecord, why: str) -> None:
        """Keep a change that was refused, on this node alone."""
        refused = record.model_copy(update={"refused": why})
        self.refused.append(refused)
        try:
            self._copy.add_refused(refused)
        except OSError:
            logger.exception("a refused change could not be written to disk")

    def _judge(self, reading: Reading) -> None:
        """Set `refusal` to the reason why a state is not followed; None if it may be."""
        refusal = _refusal(reading, self.newest)
        if refusal is not None and refusal != self.refusal:
            logger.error("%s", refusal)
        elif refusal is None and self.refusal is not None:
            logger.info("the shared state can be followed again")
        self.refusal = refusal

    def _keep_copy(self) -> None:
        if self._is_copied:
            return
        try:
            self._copy.write_state(self.newest)
        except OSError:
            logger.exception("the last shared state cannot be written to disk; it is tried again")
        else:
            self._is_copied = True

    def _learn(self, records: Sequence[Numbered], *, replace: bool) -> None:
        if replace:
            self.numbered, self.audit = [], []
        last = self.last_number
        new = [entry for entry in records if entry.number > last]
        write = self._copy.replace_audit if replace else self._copy.append_audit
        try:
            write(new)
        except OSError:
            logger.exception("the copy of the shared audit cannot be written to disk")
        # New lists: a request may be reading the present ones.
        self.numbered = self.numbered + new
        self.audit = self.audit + [entry.record for entry in new]


def _refusal(reading: Reading, known: SharedState) -> str | None:
    place, version = reading.place, known.place.version
    if reading.relation is Relation.OLDER:
        return (
            f"the PostgreSQL has version {place.version} of the shared state, and this node knows "
            f"version {version}: an old backup was restored, and {_CONFIRM}"
        )
    if reading.relation is Relation.FOREIGN and place.lineage != known.place.lineage:
        return (
            "the PostgreSQL has the shared state of another installation, and nothing of it is "
            "applied: correct MAMBAAD_STATE__URL, or move shared.json out of this node's state "
            "folder to join that installation"
        )
    if reading.relation is Relation.FOREIGN:
        return (
            f"version {place.version} of the shared state does not descend from version {version}, "
            f"which this node knows: an old backup was restored and changed since, and {_CONFIRM}"
        )
    return None
