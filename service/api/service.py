"""The objects that all routers share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from model.checkpoints.key import CheckpointKey
from service.api.limits import BodyLimits
from service.archive.recording import Recorder
from service.cluster.pool import ClusterPool
from service.inspection.drift import DriftMonitor
from service.inspection.inspect_part import InspectPart
from service.inspection.readiness import ReadinessCheck
from service.inspection.shadow import Shadows
from service.telemetry.metrics import Metrics
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.rollout import Rollout
from service.workers.protocol import Workers

if TYPE_CHECKING:
    from service.shared.sharing import Sharing


@dataclass(frozen=True, slots=True)
class Service:
    """The objects that the routes use; without an archive there is no `recorder`.

    `sharing` is None unless the state is shared with other nodes.
    """

    registry: Registry
    workers: Workers
    readiness: ReadinessCheck
    inspect_part: InspectPart
    lifecycle: Lifecycle
    rollout: Rollout
    shadows: Shadows
    limits: BodyLimits
    metrics: Metrics
    drift: DriftMonitor
    recorder: Recorder | None = None
    sharing: "Sharing | None" = None

    def replicas(self, key: CheckpointKey) -> int | None:
        """Return how many workers of a cluster at least should have a checkpoint; None: not set."""
        return self.workers.replicas(key) if isinstance(self.workers, ClusterPool) else None


async def _service(request: Request) -> Service:  # async: else it would run in a thread
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service)]
