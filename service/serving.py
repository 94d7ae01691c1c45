"""What every router stands on."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.inspect_part import InspectPart
from service.lifecycle import Lifecycle
from service.limits import BodyLimits
from service.metrics import Metrics
from service.protocol import Workers
from service.readiness import ReadinessCheck
from service.registry import Registry
from service.rollout import Rollout
from service.shadow import Shadows


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes stand on."""

    registry: Registry
    workers: Workers
    readiness: ReadinessCheck
    inspect_part: InspectPart
    lifecycle: Lifecycle
    rollout: Rollout
    shadows: Shadows
    limits: BodyLimits
    metrics: Metrics


async def _service(request: Request) -> Service:  # not async, it would run in a thread
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service)]
