"""Changes routes and thresholds, and records every change on disk with its author and reason.

A new version is loaded and verified first. Then routes change in one step, and requests in
progress keep their version. If any step fails, nothing has changed.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.errors import Conflict, InvalidRequest
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.state import Action, AuditRecord, Deployment, State
from service.versions.thresholds import Threshold

logger = logging.getLogger("service.rollout")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, why, with which API key and request id."""

    who: str
    reason: str
    caller: str
    request_id: str


class Rollout:
    """Makes changes, one at a time. Belongs to one event loop.

    author = Author("Ada", "new lamp", caller="shift-lead", request_id="r-1")
    await rollout.route("bolt", Assignment(stable=CheckpointKey("bolts", "4")), author)
    """

    def __init__(
        self, registry: Registry, lifecycle: Lifecycle, deployment: Deployment, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._deployment = deployment
        self._metrics = metrics
        self._changing = asyncio.Lock()

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
        self._check_claim(category, key)
        await _completed(self._set(category, key, threshold, by, instead_of))

    async def record(
        self, action: Action, subject: str, by: Author, make: Callable[[], T], **after: object
    ) -> T:
        """Make another change in a thread, and record it; `after` says what it leads to.

        Raises `StateNotWritten`, or as `make` does; then there is neither change nor record.
        """
        return await _completed(self._make(action, subject, by, make, after or None))

    @property
    def audit(self) -> Sequence[AuditRecord]:
        """All changes, the oldest first."""
        return self._deployment.audit

    def threshold(self, category: Category, key: CheckpointKey) -> dict[str, Any]:
        """Return the thresholds in force."""
        override = self.override(category, key)
        return _values(override) if override else self.calibrated(category, key)

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
        plain = json.dumps(_plain(assignment) if assignment else None, sort_keys=True)
        digest = hashlib.sha256(plain.encode()).hexdigest()
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
        return _calibrated(self._registry.calibration(category, key))

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
                _record("route", category, by, _plain(old) if old else None, _plain(assignment)),
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
            after = _values(threshold) if threshold else self.calibrated(category, key)
            await self._commit(state, _record("threshold", category, by, before, after, str(key)))

    async def _make(
        self,
        action: Action,
        subject: str,
        by: Author,
        make: Callable[[], T],
        after: dict[str, Any] | None,
    ) -> T:
        async with self._changing:
            record = _record(action, None, by, None, after, subject=subject)
            made = await asyncio.to_thread(self._deployment.record, record, make)
        logger.info("%s of %s by %s: %s", action, subject, by.who, by.reason)
        return made

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
                after = before if self.override(category, key) else _calibrated(new.calibration)
                record = _record("threshold", category, by, before, after, str(key))
                await self._commit(self._deployment.state, record)
            self._registry.take_up(version)

    async def _commit(self, state: State, record: AuditRecord) -> None:
        """Write the state to disk, and apply it."""
        await asyncio.to_thread(self._deployment.commit, state, record)
        self._registry.apply(state)
        self._metrics.changes.labels(record.category, record.action).inc()
        logger.info(
            "%s of %s changed by %s: %s", record.action, record.category, record.who, record.after
        )


def _record(
    action: Action,
    category: Category | None,
    by: Author,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    model: str | None = None,
    subject: str | None = None,
) -> AuditRecord:
    return AuditRecord(
        at=datetime.now(UTC),
        who=by.who,
        reason=by.reason,
        caller=by.caller,
        action=action,
        category=category,
        subject=subject,
        model=model,
        request_id=by.request_id,
        before=before,
        after=after,
    )


async def _completed(change: Coroutine[Any, Any, T]) -> T:
    """Await a change that continues even if the caller is cancelled."""
    return await asyncio.shield(asyncio.create_task(change))


def _calibrated(calibration: Calibration) -> dict[str, Any]:
    return {
        "threshold": calibration.image_threshold,
        "review_threshold": calibration.review_threshold,
    }


def _plain(assignment: Assignment) -> dict[str, Any]:
    return assignment.model_dump(mode="json", exclude_none=True)


def _values(threshold: Threshold) -> dict[str, Any]:
    return threshold.model_dump(include={"threshold", "review_threshold"})
