"""Versions: of the service and what it computes with, and the settings that differ."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request, Response

from service.console.board.traffic import Traffic
from service.console.system.differences import differences
from service.console.visits import CHANGING, VisitDependency
from service.http.declaration import declares

router = APIRouter()

_PACKAGES = ("mambaad-service", "torch", "onnxruntime")


@router.get("/console/system/versions")
@declares(is_page=True, scope=CHANGING)
async def page(request: Request, visit: VisitDependency) -> Response:
    """Show versions, uptime and settings."""
    state = request.app.state
    traffic: Traffic = state.traffic
    return visit.page(
        "system_versions.html",
        section="versions",
        packages={name: _version(name) for name in _PACKAGES},
        python=f"{platform.python_version()} ({platform.machine()}, {platform.system()})",
        node=state.archive_settings.node_name,
        site=state.archive_settings.site,
        started_at=traffic.started_at,
        up_s=(datetime.now(UTC) - traffic.started_at).total_seconds(),
        settings=differences(state.settings),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
