"""Changes of what serves: routes and thresholds, each kept on disk with who made it and why.

A version that is to serve is loaded and verified first. Then routes change in one step: a request
gets one version, the one that served when it came. Where any of this fails, nothing has changed.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from model.inspection import Category
from service.channel import CheckpointKey
from service.deployment import AuditRecord, Deployment, State
from service.errors import InvalidRequest
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.registry import Registry
from service.routing import Assignment
from service.thresholds import Threshold

logger = logging.getLogger(__name__)


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
        async with self._changing:
            before = set(self._registry.checkpoints)
            old = self._registry.assignments.get(category)
            await self._commit(
                self._deployment.state.with_route(category, assignment),
                _record("route", category, by, _plain(old) if old else None, _plain(assignment)),
            )
        if not keep:
            self._lifecycle.release(before - set(self._registry.checkpoints))

    async def set_threshold(
        self, category: Category, key: CheckpointKey, threshold: Threshold | None, by: Author
    ) -> None:
        """Decide by another threshold from the next image on; None: by the calibrated one again.

        Raises `InvalidRequest` for a version that does not claim the category, `StateNotWritten`.
        """
        self._check_claim(category, key)
        async with self._changing:
            before = self.threshold(category, key)
            state = self._deployment.state.with_threshold(category, str(key), threshold)
            after = _values(threshold) if threshold else self.calibrated(category, key)
            await self._commit(state, _record("threshold", category, by, before, after, str(key)))

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
        calibration = self._registry.calibration(category, key)
        return {
            "threshold": calibration.image_threshold,
            "review_threshold": calibration.review_threshold,
        }

    def _check_claim(self, category: Category, key: CheckpointKey) -> None:
        version = self._registry.version(key.name, key.version)
        if category not in version.categories:
            have = ", ".join(version.categories) or version.problem or "none"
            raise InvalidRequest(f"{key} is not calibrated for {category[:100]!r}; has: {have}")

    async def _commit(self, state: State, record: AuditRecord) -> None:
        """Keep it and let it hold; whoever asked may go away meanwhile."""

        async def commit() -> None:
            await asyncio.to_thread(self._deployment.commit, state, record)
            self._registry.apply(state)

        await asyncio.shield(commit())
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


def _plain(assignment: Assignment) -> dict[str, Any]:
    return assignment.model_dump(mode="json", exclude_none=True)


def _values(threshold: Threshold) -> dict[str, Any]:
    return threshold.model_dump(include={"threshold", "review_threshold"})
