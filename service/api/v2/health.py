"""The health routes of the Open Inference Protocol, which need no key."""

from fastapi import APIRouter

from service.api.service import Service, ServiceDependency
from service.api.v2 import openapi as v2_openapi
from service.api.v2.schemas import LiveHealth, ReadyHealth
from service.errors import NoWorkerReady
from service.http.declaration import Access, declares

router = APIRouter(prefix="/v2/health", tags=["open inference protocol"])


@router.head("/live", include_in_schema=False)
@router.get("/live", summary="Does the process answer?")
@declares(access=Access.OPEN, is_probe=True)
async def live() -> LiveHealth:
    """Answer 200 while the process can answer."""
    return LiveHealth(live=True)


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Can images be inspected?", responses=v2_openapi.NOT_READY)
@declares(access=Access.OPEN, is_probe=True)
async def ready(service: ServiceDependency) -> ReadyHealth:
    """Answer 200 when `/readyz` does, else the problem."""
    check_ready(service)
    return ReadyHealth(live=True, ready=True)


def check_ready(service: Service) -> None:
    """Raise `NoWorkerReady` while images cannot be inspected."""
    readiness = service.readiness()
    if not readiness.ready:
        raise NoWorkerReady("not ready: " + "; ".join(readiness.reasons))
