"""The alerts: what each means, whether it holds now, and its runbook."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response

from service.api.service import Service, ServiceDependency
from service.console.board.alarms import AlarmSources
from service.console.system.conditions import holding
from service.console.system.runbooks import RUNBOOKS, html_of
from service.console.visits import CHANGING, Visit, VisitDependency
from service.http.declaration import declares

router = APIRouter()

_ADDRESS = "/console/system/alerts"

_Alert = Annotated[str, Path(max_length=100)]


@router.get(_ADDRESS)
@declares(is_page=True, scope=CHANGING)
async def page(request: Request, visit: VisitDependency, service: ServiceDependency) -> Response:
    """List every alert, those that hold now first."""
    told = await _told(request, visit, service)
    alerts = [runbook for runbook in RUNBOOKS.values() if runbook.severity]
    return visit.page(
        "system_alerts.html",
        section="alerts",
        held=[alert for alert in alerts if told.get(alert.name)],
        alerts=[alert for alert in alerts if not told.get(alert.name)],
        told=told,
    )


@router.get(_ADDRESS + "/{name}")
@declares(is_page=True, scope=CHANGING)
async def runbook(
    request: Request, visit: VisitDependency, service: ServiceDependency, name: _Alert
) -> Response:
    """Show an alert's runbook."""
    chosen = RUNBOOKS.get(name)
    if chosen is None:
        raise HTTPException(404, f"there is no runbook {name!r}")
    told = await _told(request, visit, service)
    text = html_of(chosen, f"{visit.root}{_ADDRESS}")
    return visit.page("system_runbook.html", section="alerts", runbook=chosen, text=text, told=told)


async def _told(
    request: Request, visit: Visit, service: Service
) -> Mapping[str, list[tuple[str, str]]]:
    """Return what each alert that the service can tell holds for: a subject, and why."""
    held = holding(service.metrics, RUNBOOKS.values())
    told = {name: [(subject, "") for subject in subjects] for name, subjects in held.items()}
    feed = visit.console.feed
    if feed is None:
        return told
    sources = AlarmSources.of(request, service)
    for alarm in sources.now(await feed.current()):
        pairs = told.setdefault(alarm.alert, [])
        # The alarm knows more than the metric: it says why.
        pairs[:] = [
            pair for pair in pairs if pair[1] or pair[0].partition(" · ")[0] != alarm.subject
        ]
        pairs.append((alarm.subject, alarm.detail))
    return told
