"""Changes routes and thresholds, and records every change on disk with its author and reason.

A new version is loaded and verified first. Then routes change in one step, and requests in
progress keep their version. If any step fails, nothing has changed.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.errors import Conflict, InvalidRequest, ServiceError
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment
from service.versions.changes import Author, calibrated_values, plain, record_of, values_of
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.state import Action, AuditRecord, State
from service.versions.state_store import StateStore, Update
from service.versions.thresholds import Threshold

logger = logging.getLogger("service.rollout")

T = TypeVar("T")


class Rollout:
    """Makes changes, one at a time. Belongs to one event loop.

    author = Author("Ada", "new lamp", caller="shift-lead", request_id="r-1")
    await rollout.route("bolt", Assignment(stable=CheckpointKey("bolts", "4")), author)
    """

    def __init__(
        self, registry: Registry, lifecycle: Lifecycle, deployment: StateStore, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._deployment = deployment
        self._metrics = metrics
        self._changing = asyncio.Lock()
        # Inspections use the event loop's own threads, which hanging changes must not take.
        self._thread = ThreadPoolExecutor(1, "state-changes")

    def close(self) -> None:
        """End the thread, once the change that it makes is made."""
        self._thread.shutdown(wait=False)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def route(
        self,
        category: Category,
        assignment: Assignment,
        by: Author,
        *,
        keep: bool = False,
        revision: str | None = None,
    ) -> None:
        """Load the assigned versions, route to them, and unload unused ones unless `keep`.

        Raises `InvalidRequest` if a version is not calibrated for the category, `ModelRefused` if
        one does not load, `StateNotWritten`, or `Conflict` if a `revision` is given and the route
        has another one by now.
        """
        await self._catch_up(record_of("route", category, by, None, plain(assignment)))
        self._check_revision(category, revision)
        keys = [key for _, key in assignment.roles()]
        for key in keys:
            self._check_claim(category, key)
        if assignment.stable in keys[1:]:
            raise InvalidRequest(
                f"{assignment.stable} is the stable version: canary and shadow must be others"
            )
        await self._lifecycle.warm(keys)
        await _completed(self._assign(category, assignment, by, keep=keep, revision=revision))

    async def load(self, key: CheckpointKey, by: Author) -> None:
        """Load a version, again if it is loaded, and apply its current calibration.

        Raises `ModelRefused`, or `StateNotWritten` if the new thresholds could not be recorded.
        """
        await self._lifecycle.load(key)
        await _completed(self._take_up(key, by))

    async def set_threshold(
        self,
        category: Category,
        key: CheckpointKey,
        threshold: Threshold | None,
        by: Author,
        *,
        instead_of: Mapping[str, Any] | None = None,
    ) -> None:
        """Set a threshold from the next image on; None restores the calibrated one.

        With `instead_of`, values as of `threshold`, it is set only if those are in force. Raises
        `Conflict` if others are, `InvalidRequest` if the version is not calibrated for the
        category, or `StateNotWritten`.
        """
        after = values_of(threshold) if threshold else None
        await self._catch_up(record_of("threshold", category, by, None, after, str(key)))
        self._check_claim(category, key)
        await _completed(self._set(category, key, threshold, by, instead_of))

    async def record(
        self, action: Action, subject: str, by: Author, make: Callable[[], T], **after: object
    ) -> T:
        """Make another change in a thread, and record it; `after` says what it leads to.

        Raises `StateNotWritten`, or as `make` does; then there is neither change nor record.
        """

        def commit(record: AuditRecord) -> T:
            return self._deployment.record(record, make)

        return await self.change(action, subject, by, commit, **after)

    async def change(
        self,
        action: Action,
        subject: str,
        by: Author,
        commit: Callable[[AuditRecord], T],
        **after: object,
    ) -> T:
        """Like `record`, but `commit` makes the change and writes the record itself."""
        record = record_of(action, None, by, None, after or None, subject=subject)
        made = await _completed(self._make(record, commit))
        logger.info("%s of %s by %s: %s", action, subject, by.who, by.reason)
        return made

    async def follow(self, update: Update) -> None:
        """Serve by the state of another node, as a whole, once its versions are loaded.

        Raises `InvalidRequest`, `NoSuchModel` or `ModelRefused` if a version that it adds cannot
        serve here; then this node goes on with its last state.
        """
        added = self._added(update.state)
        if added:
            await self._lifecycle.rescan()
            for category, key in added:
                self._check_claim(category, key)
        await self._lifecycle.warm(dict.fromkeys(key for _, key in added))
        async with self._changing:
            before = set(self._registry.checkpoints)
            if not update.adopt():
                return
            self._registry.apply(update.state)
        self._lifecycle.release(before - set(self._registry.checkpoints))

    def _added(self, state: State) -> list[tuple[Category, CheckpointKey]]:
        """Return the versions that a state routes to, and that have no such role now."""
        present = self._registry.assignments
        return [
            (category, key)
            for category, assignment in state.routes.items()
            if assignment != present.get(category)
            for _, key in assignment.roles()
        ]

    async def _catch_up(self, record: AuditRecord) -> None:
        """Apply what other nodes have changed before this change is looked at."""
        shared = self._deployment.is_shared
        update = await self._in_thread(self._deployment.newer, record) if shared else None
        if update is None:
            return
        try:
            await self.follow(update)
        except ServiceError as error:
            raise Conflict(
                f"this node cannot serve by the newest shared state, so it changes nothing: {error}"
            ) from error

    @property
    def audit(self) -> Sequence[AuditRecord]:
        """All changes, the oldest first."""
        return self._deployment.audit

    def threshold(self, category: Category, key: CheckpointKey) -> dict[str, Any]:
        """Return the thresholds in force."""
        override = self.override(category, key)
        return values_of(override) if override else self.calibrated(category, key)

    def override(self, category: Category, key: CheckpointKey) -> Threshold | None:
        """Return the threshold that an operator has set, or None."""
        return self._deployment.state.thresholds.get(category, {}).get(str(key))

    def history(self, category: Category, action: Action = "threshold") -> list[AuditRecord]:
        """Return all changes of a category's thresholds, or of its route, latest first."""
        return [
            record
            for record in reversed(self._deployment.audit)
            if record.action == action and record.category == category
        ]

    def revision(self, category: Category) -> str:
        """Return a text that is another one after each change of a category's route."""
        assignment = self._registry.assignments.get(category)
        text = json.dumps(plain(assignment) if assignment else None, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{len(self.history(category, 'route'))}-{digest[:16]}"

    def _check_revision(self, category: Category, revision: str | None) -> None:
        if revision is not None and revision != self.revision(category):
            raise Conflict(
                f"the route of {category[:100]!r} was changed meanwhile, and nothing else was "
                "changed: look at the route again"
            )

    def calibrated(self, category: Category, key: CheckpointKey) -> dict[str, Any]:
        """Return the checkpoint's calibrated thresholds."""
        self._check_claim(category, key)
        return calibrated_values(self._registry.calibration(category, key))

    def _check_claim(self, category: Category, key: CheckpointKey) -> None:
        version = self._registry.version(key.name, key.version)
        if category not in version.categories:
            have = ", ".join(version.categories) or version.problem or "none"
            raise InvalidRequest(f"{key} is not calibrated for {category[:100]!r}; has: {have}")

    async def _assign(
        self,
        category: Category,
        assignment: Assignment,
        by: Author,
        *,
        keep: bool,
        revision: str | None,
    ) -> None:
        async with self._changing:
            self._check_revision(category, revision)
            before = set(self._registry.checkpoints)
            old = self._registry.assignments.get(category)
            await self._commit(
                self._deployment.state.with_route(category, assignment),
                record_of("route", category, by, plain(old) if old else None, plain(assignment)),
            )
        if not keep:
            self._lifecycle.release(before - set(self._registry.checkpoints))

    async def _set(
        self,
        category: Category,
        key: CheckpointKey,
        threshold: Threshold | None,
        by: Author,
        instead_of: Mapping[str, Any] | None,
    ) -> None:
        async with self._changing:
            before = self.threshold(category, key)
            if instead_of is not None and before != instead_of:
                raise Conflict(
                    f"the thresholds of {category} in {key} are {before}, not {instead_of}: "
                    "somebody changed them meanwhile, and nothing was changed now"
                )
            state = self._deployment.state.with_threshold(category, str(key), threshold)
            after = values_of(threshold) if threshold else self.calibrated(category, key)
            await self._commit(state, record_of("threshold", category, by, before, after, str(key)))

    async def _make(self, record: AuditRecord, commit: Callable[[AuditRecord], T]) -> T:
        async with self._changing:
            return await self._in_thread(commit, record)

    async def _take_up(self, key: CheckpointKey, by: Author) -> None:
        """Record a version's current calibration in the audit, and apply it."""
        async with self._changing:
            version = await asyncio.to_thread(self._registry.read, key)
            if version is None:
                return
            for category in sorted({category for category, _ in self._registry.roles(key)}):
                new = (version.routes or {}).get(category)
                if new is None or new.calibration == self._registry.calibration(category, key):
                    continue
                before = self.threshold(category, key)
                is_set = self.override(category, key) is not None
                after = before if is_set else calibrated_values(new.calibration)
                record = record_of("threshold", category, by, before, after, str(key))
                await self._commit(self._deployment.state, record)
            self._registry.take_up(version)

    async def _commit(self, state: State, record: AuditRecord) -> None:
        """Write the state to disk, and apply it."""
        await self._in_thread(self._deployment.commit, state, record)
        self._registry.apply(state)
        self._metrics.changes.labels(record.category, record.action).inc()
        logger.info(
            "%s of %s changed by %s: %s", record.action, record.category, record.who, record.after
        )


async def _completed(change: Coroutine[Any, Any, T]) -> T:
    """Await a change that continues even if the caller is cancelled."""
    return await asyncio.shield(asyncio.create_task(change))
