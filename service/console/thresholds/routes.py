"""The page Thresholds and its data: what another threshold would have decided."""

import asyncio
from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from service.api.inspections.door import InspectionsDoorDependency
from service.api.service import Service, ServiceDependency
from service.console.thresholds import changing
from service.console.thresholds.choices import Choice, choose, read_query
from service.console.thresholds.estimates import FEW, Curve, Estimates, estimate
from service.console.thresholds.promises import promises_of
from service.console.thresholds.scores import NEWEST, ScoredParts, Wanted, read_parts
from service.console.thresholds.showing import show
from service.console.visits import READING, Visit, VisitDependency
from service.errors import NoSuchCategory
from service.http.declaration import declares

router = APIRouter()
router.include_router(changing.router)

_LETTERS = "-GDU"  # none yet, good, defective, unsure
_OUTSIDE = "-gdu"  # the same, outside the random sample


@router.get("/console/thresholds", name="thresholds_page")
@declares(is_page=True, scope=READING)
async def thresholds_page(
    request: Request,
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
) -> Response:
    """Show the thresholds of a version, and what others would have decided."""
    query = read_query(request.query_params)
    choice = choose(query, service.registry, visit.console.settings.zone, datetime.now(UTC))
    if choice is None:
        return visit.page("thresholds_none.html")
    return show(visit, service, choice, done=query.done)


@router.get("/console/thresholds/data")
@declares(is_page=True, scope=READING)
async def thresholds_data(
    request: Request,
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
) -> Response:
    """Return the scores of the chosen parts, and the rates at every threshold."""
    query = read_query(request.query_params)
    settings = visit.console.settings
    choice = choose(query, service.registry, settings.zone, datetime.now(UTC))
    if choice is None:
        raise NoSuchCategory("no checkpoint serves any category")
    wanted = Wanted(
        choice.category, choice.key, choice.since, choice.until, settings.review_share
    )  # fmt: skip
    parts = await door.archive.read(partial(_read, wanted))
    estimates = await asyncio.to_thread(estimate, parts)
    content = _data(service, choice, parts, estimates)
    content["about"] = _about(visit, choice, parts, estimates)
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _read(wanted: Wanted, connection: Connection) -> ScoredParts:
    return read_parts(connection, wanted)


def _data(
    service: Service, choice: Choice, parts: ScoredParts, estimates: Estimates
) -> dict[str, Any]:
    """Return numbers for the chart; arrays are little-endian in base64.

    `verdicts` has a letter for each part, small if the verdict is outside the random sample.
    """
    letters = np.where(parts.is_sampled, *(_codes(text)[parts.verdicts] for text in (
        _LETTERS, _OUTSIDE
    )))  # fmt: skip
    calibration = service.registry.calibration(choice.category, choice.key)
    return {
        "raw": _base64(parts.raw, "<f8"),
        "told": _codes("OWNU")[parts.told].tobytes().decode(),
        "verdicts": letters.tobytes().decode(),
        "places": _base64(estimates.scores, "<f8"),
        "false_rejects": _curve(estimates.false_rejects),
        "escapes": _curve(estimates.escapes),
        "promises": asdict(promises_of(calibration)),
    }


def _about(visit: Visit, choice: Choice, parts: ScoredParts, estimates: Estimates) -> str:
    """Return a part of the page: which parts it counts, and which it leaves out."""
    return visit.html(
        "thresholds_about.html",
        choice=choice,
        parts=parts,
        estimates=estimates,
        outside=int(np.count_nonzero(parts.is_good_or_bad & ~parts.is_sampled)),
        unsure=int(np.count_nonzero(parts.verdicts == 3)),
        share=visit.console.settings.review_share,
        newest=NEWEST,
        few=FEW,
    )


def _curve(curve: Curve) -> dict[str, str]:
    return {name: _base64(getattr(curve, name), "<f4") for name in ("rate", "low", "high", "share")}


def _codes(letters: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(letters.encode("ascii"), np.uint8)


def _base64(values: npt.NDArray[np.float64], kind: str) -> str:
    return b64encode(values.astype(kind).tobytes()).decode("ascii")
