"""Workers, queues and stations: whether the service inspects, how fast, and for whom."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.inspections.door import find_door
from service.api.service import Service, ServiceDependency
from service.console.board.traffic import Traffic
from service.console.sharing import sharing_of
from service.console.system.stations import stations_of
from service.console.system.workers import replicas_of, workers_of
from service.console.visits import CHANGING, VisitDependency
from service.http.declaration import declares

router = APIRouter()


@router.get("/console/system", name="system_page")
@declares(is_page=True, scope=CHANGING)
async def overview(
    request: Request, visit: VisitDependency, service: ServiceDependency
) -> Response:
    """Show workers and stations."""
    door = find_door(request)
    query = partial(stations_of, now=datetime.now(UTC))
    stations = await door.archive.read(query) if door else []
    values = _workers(request, service)
    return visit.page(
        "system.html", stations=stations, section="overview", sharing=sharing_of(service), **values
    )


@router.get("/console/system/workers")
@declares(is_page=True, scope=CHANGING)
async def workers(request: Request, visit: VisitDependency, service: ServiceDependency) -> Response:
    """Return the part with the workers, which the page asks for every few seconds."""
    return visit.part("system_workers.html", **_workers(request, service))


def _workers(request: Request, service: Service) -> dict[str, Any]:
    traffic: Traffic = request.app.state.traffic
    recent = traffic.recent()
    return {
        "recent": recent,
        "readiness": service.readiness(),
        "workers": workers_of(service, recent),
        "replicas": replicas_of(service),
        "spare": service.workers.spare(),
    }
