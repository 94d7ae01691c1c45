"""Changes of what serves: routes and thresholds, each kept on disk with who made it and why.

A version that is to serve is loaded and verified first. Then routes change in one step: a request
gets one version, the one that served when it came. Where any of this fails, nothing has changed.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.errors import InvalidRequest
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.state import AuditRecord, Deployment, State
from service.versions.thresholds import Threshold

logger = logging.getLogger("service.rollout")


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks for a change, why, by which API key and with which request."""

    who: str
    reason: str
    caller: str
    request_id: str


class Rollout:
    """Makes changes, one at a time. Belongs to one event loop."""

    def __init__(
        self, registry: Registry, lifecycle: Lifecycle, deployment: Deployment, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._deployment = deployment
        self._metrics = metrics
        self._changing = asyncio.Lock()

    async def route(
        self, category: Category, assignment: Assignment, by: Author, *, keep: bool = False
    ) -> None:
        """Load what is to serve, let it serve, and drain what does not any more, unless to `keep`.

        Raises `InvalidRequest` for a version that does not claim the category, `ModelRefused` for
        one that does not load, or `StateNotWritten`.
        """
        keys = [key for _, key in assignment.roles()]
        for key in keys:
            self._check_claim(category, key)
        if assignment.stable in keys[1:]:
            raise InvalidRequest(f"{assignment.stable} is stable: canary and shadow are others")
        await self._lifecycle.warm(keys)
        await _whole(self._assign(category, assignment, by, keep=keep))

    async def load(self, key: CheckpointKey, by: Author) -> None:
        """Load a version, or load it again and decide by what was calibrated since.

        Raises `ModelRefused`, or `StateNotWritten` for what could not be put on record.
        """
        await self._lifecycle.load(key)
        await _whole(self._take_up(key, by))

    async def set_threshold(
        self, category: Category, key: CheckpointKey, threshold: Threshold | None, by: Author
    ) -> None:
        """Decide by another threshold from the next image on; None: by the calibrated one again.

        Raises `InvalidRequest` for a version that does not claim the category, `StateNotWritten`.
        """
        self._check_claim(category, key)
        await _whole(self._set(category, key, threshold, by))

    def threshold(self, category: Category, key: CheckpointKey) -> dict[str, Any]:
        """Return the thresholds in force."""
        own = self.override(category, key)
        return _values(own) if own else self.calibrated(category, key)

    def override(self, category: Category, key: CheckpointKey) -> Threshold | None:
        """Return the threshold that was set by hand, if one was."""
        return self._deployment.state.thresholds.get(category, {}).get(str(key))

    def history(self, category: Category) -> list[AuditRecord]:
        """Return every change of a category's thresholds, latest first."""
        return [
            record
            for record in reversed(self._deployment.audit)
            if record.action == "threshold" and record.category == category
        ]

    def calibrated(self, category: Category, key: CheckpointKey) -> dict[str, Any]:
        """Return the thresholds that the checkpoint came with."""
        self._check_claim(category, key)
        return _calibrated(self._registry.calibration(category, key))

    def _check_claim(self, category: Category, key: CheckpointKey) -> None:
        version = self._registry.version(key.name, key.version)
        if category not in version.categories:
            have = ", ".join(version.categories) or version.problem or "none"
            raise InvalidRequest(f"{key} is not calibrated for {category[:100]!r}; has: {have}")

    async def _assign(
        self, category: Category, assignment: Assignment, by: Author, *, keep: bool
    ) -> None:
        async with self._changing:
            before = set(self._registry.checkpoints)
            old = self._registry.assignments.get(category)
            await self._commit(
                self._deployment.state.with_route(category, assignment),
                _record("route", category, by, _plain(old) if old else None, _plain(assignment)),
            )
        if not keep:
            self._lifecycle.release(before - set(self._registry.checkpoints))

    async def _set(
        self, category: Category, key: CheckpointKey, threshold: Threshold | None, by: Author
    ) -> None:
        async with self._changing:
            before = self.threshold(category, key)
            state = self._deployment.state.with_threshold(category, str(key), threshold)
            after = _values(threshold) if threshold else self.calibrated(category, key)
            await self._commit(state, _record("threshold", category, by, before, after, str(key)))

    async def _take_up(self, key: CheckpointKey, by: Author) -> None:
        """Decide by the calibration that a version has in the store now; on record first."""
        async with self._changing:
            found = await asyncio.to_thread(self._registry.read, key)
            if found is None:
                return
            for category in sorted({category for category, _ in self._registry.roles(key)}):
                new = (found.routes or {}).get(category)
                if new is None or new.calibration == self._registry.calibration(category, key):
                    continue
                before = self.threshold(category, key)
                after = before if self.override(category, key) else _calibrated(new.calibration)
                record = _record("threshold", category, by, before, after, str(key))
                await self._commit(self._deployment.state, record)
            self._registry.take_up(found)

    async def _commit(self, state: State, record: AuditRecord) -> None:
        """Keep it and let it hold."""
        await asyncio.to_thread(self._deployment.commit, state, record)
        self._registry.apply(state)
        self._metrics.changes.labels(record.category, record.action).inc()
        logger.info(
            "%s of %s changed by %s: %s", record.action, record.category, record.who, record.after
        )


def _record(
    action: Literal["threshold", "route"],
    category: Category,
    by: Author,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    model: str | None = None,
) -> AuditRecord:
    return AuditRecord(
        at=datetime.now(UTC),
        who=by.who,
        reason=by.reason,
        caller=by.caller,
        action=action,
        category=category,
        model=model,
        request_id=by.request_id,
        before=before,
        after=after,
    )


async def _whole(change: Coroutine[Any, Any, None]) -> None:
    """Make a change to its end, and no other before that, though whoever asked may go away."""
    await asyncio.shield(asyncio.create_task(change))


def _calibrated(calibration: Calibration) -> dict[str, Any]:
    return {
        "threshold": calibration.image_threshold,
        "review_threshold": calibration.review_threshold,
    }


def _plain(assignment: Assignment) -> dict[str, Any]:
    return assignment.model_dump(mode="json", exclude_none=True)


def _values(threshold: Threshold) -> dict[str, Any]:
    return threshold.model_dump(include={"threshold", "review_threshold"})
