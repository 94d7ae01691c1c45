"""Which workers leave, because their Ray nodes are drained: others get their images from then on.

A node is drained before it ends, such as when `ray start --block` gets SIGTERM.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import ray

from service.cluster.messages import WorkerReport
from service.workers.protocol import WorkerState

_ON_ITS_WAY_S = 1.0


def draining_nodes() -> frozenset[str]:
    """Return the ids of the nodes that are drained. Blocks."""
    if not ray.is_initialized():
        return frozenset()
    # Ray has no public call for this.
    return frozenset(ray._private.state.state.get_draining_nodes())


@dataclass(slots=True)
class Leaving:
    """Follows which workers leave; times by `time.monotonic`."""

    _since: dict[str, float] = field(default_factory=dict)

    def look(self, reports: Mapping[str, WorkerReport], draining: Collection[str]) -> None:
        """Take the latest reports; no worker leaves while no other one is ready."""
        stays = any(
            report.state is WorkerState.READY and report.node_id not in draining
            for report in reports.values()
        )
        leaving = [name for name, report in reports.items() if report.node_id in draining]
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in leaving if stays}

    @property
    def names(self) -> tuple[str, ...]:
        """The workers that should get no more images."""
        return tuple(self._since)

    def done(self, reports: Mapping[str, WorkerReport], heard_at: float) -> list[str]:
        """Return those without a job, once all services have heard; the last did at `heard_at`."""
        return [
            name
            for name, since in self._since.items()
            if heard_at > since + _ON_ITS_WAY_S and not reports[name].jobs
        ]
