"""A part's page, and the pictures of its views."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.inspections import pictures as original
from service.api.inspections.door import InspectionId, InspectionsDoor, InspectionsDoorDependency
from service.api.inspections.pictures import View
from service.api.service import Service, ServiceDependency
from service.archive.records import InspectionRecord
from service.archive.searching.archive import Found
from service.archive.searching.judging import standing
from service.archive.searching.viewing import Medium, sha256_of, view_of
from service.console.changes import reviewer_name
from service.console.images.contours import contours, outline_svg
from service.console.images.layers import picture_of
from service.console.images.pictures import PHOTO_SIDE, THUMBNAIL_SIDE, heat_png
from service.console.records import (
    Delivery,
    deliveries,
    neighbours,
    review_score_of,
    route_of,
    state_of,
)
from service.console.visits import READING, REVIEWING, Visit, VisitDependency
from service.errors import NoSuchCategory, ServiceError
from service.http.declaration import declares
from service.inspection.images.maps import read_map

router = APIRouter()

_NEIGHBOURS = 4
_GREY_BITS = 16
_MAX_AGE_S = 86_400


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the part was compared with, and what a part would be compared with now."""

    review_score: float | None
    now: float | None
    now_version: str | None


@router.get("/console/parts/{inspection_id}", name="part_page")
@declares(is_page=True, scope=READING)
async def part_page(
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
    *,
    overtaken: bool = False,
) -> Response:
    """Show all that the archive has about a part; `view` chooses the image.

    `overtaken` says that somebody judged it while the caller did.
    """
    found = await door.archive.find(identifier)
    record = found.inspection
    shown = await picture_of(visit.root, door, record, view) if record.views else None
    nearby = await door.archive.read(partial(neighbours, part=record, count=_NEIGHBOURS))
    return visit.page(
        "part.html",
        part=record,
        found=found,
        number=view,
        view=record.views[view] if record.views else None,
        picture=shown,
        nearby=nearby,
        state_of=state_of,
        node=door.node,
        thresholds=_thresholds(service, record),
        deliveries=await _deliveries(visit, found, door.node),
        reviewer=reviewer_name(visit) if visit.may(REVIEWING) else None,
        standing=standing(found.verdicts),
        overtaken=overtaken,
        meta=json.dumps(record.meta, indent=2, ensure_ascii=False) if record.meta else None,
    )


@router.get("/console/parts/{inspection_id}/file")
@declares(is_page=True, scope=READING)
async def part_file(
    request: Request, door: InspectionsDoorDependency, identifier: InspectionId, view: View = 0
) -> Response:
    """Return the image of a view, as it was posted."""
    answer: Response = await original.image(request, door, identifier, view)
    return answer


@router.get("/console/parts/{inspection_id}/photo")
@declares(is_page=True, scope=READING)
async def photo(
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
) -> Response:
    """Return the image of a view as a JPEG that every browser shows."""
    return await _jpeg(visit, service, door, identifier, number=view, side=PHOTO_SIDE)


@router.get("/console/parts/{inspection_id}/thumbnail")
@declares(is_page=True, scope=READING)
async def thumbnail(
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
) -> Response:
    """Return the image of a view, small."""
    return await _jpeg(visit, service, door, identifier, number=view, side=THUMBNAIL_SIDE)


@router.get("/console/parts/{inspection_id}/heat")
@declares(is_page=True, scope=READING)
async def heat(
    visit: VisitDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
) -> Response:
    """Return the heatmap of a view as a transparent layer."""
    record = await door.find_media(identifier)
    sha256 = sha256_of(record, view, Medium.MAP, door.node)
    content = await door.read(record, view, Medium.MAP)
    drawn = await asyncio.to_thread(lambda: heat_png(read_map(content)))
    return _cached(visit, drawn, "image/png", f"{sha256}-heat")


@router.get("/console/parts/{inspection_id}/outline")
@declares(is_page=True, scope=READING)
async def outline(
    visit: VisitDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
) -> Response:
    """Return the contours of a view as a drawing of the image's size."""
    record = await door.find_media(identifier)
    sha256 = sha256_of(record, view, Medium.MAP, door.node)
    shown = view_of(record, view)
    assert shown.width is not None  # a view with a map was decoded
    assert shown.height is not None
    size = (shown.width, shown.height)
    content = await door.read(record, view, Medium.MAP)
    lines = await asyncio.to_thread(lambda: contours(read_map(content), size))
    drawing = outline_svg(lines, size).encode()
    return _cached(visit, drawing, "image/svg+xml", f"{sha256}-outline")


async def _jpeg(
    visit: Visit,
    service: Service,
    door: InspectionsDoor,
    identifier: InspectionId,
    *,
    number: int,
    side: int,
) -> Response:
    record = await door.find_media(identifier)
    tag = f"{sha256_of(record, number, Medium.IMAGE, door.node)}-{side}"
    if visit.request.headers.get("if-none-match") == f'"{tag}"':
        return _cached(visit, b"", "image/jpeg", tag, status=304)
    content = await door.read(record, number, Medium.IMAGE)
    route = route_of(service.registry, record)
    bits = route.preprocessing.grey_bits if route else _GREY_BITS
    picture = await visit.console.previewer.jpeg(content, bits, side)
    return _cached(visit, picture, "image/jpeg", tag)


def _cached(
    visit: Visit, content: bytes, media_type: str, tag: str, *, status: int = 200
) -> Response:
    """Return a picture that a browser may keep; memory is reserved until it is sent."""
    hold_answer: Callable[[int], None] = visit.request.scope["state"]["hold_answer"]
    hold_answer(len(content))
    headers = {"ETag": f'"{tag}"', "Cache-Control": f"private, max-age={_MAX_AGE_S}"}
    return Response(content, status, headers, media_type=media_type)


def _thresholds(service: Service, record: InspectionRecord) -> Thresholds:
    review_score = review_score_of(service.registry, record)
    try:
        now = service.registry.find(record.category)
    except (NoSuchCategory, ServiceError):
        return Thresholds(review_score, None, None)
    version = f"{now.checkpoint.name}/{now.checkpoint.version}"
    return Thresholds(review_score, now.calibration.image_threshold, version)


async def _deliveries(visit: Visit, found: Found, node: str) -> list[Delivery]:
    """Return the deliveries that this node's journal knows of."""
    archive: Any = visit.request.app.state.archive
    record = found.inspection
    if archive is None or record.node != node:
        return []

    def read() -> list[Delivery]:
        with archive.journal.reading() as connection:
            return deliveries(connection, record.inspection_id)

    return await asyncio.to_thread(read)
