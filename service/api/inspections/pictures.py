"""The routes for the image of a view and its heatmap, which is drawn again."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from model.inspection import Region
from service.api.inspections import openapi
from service.api.inspections.door import InspectionId, InspectionsDoor, InspectionsDoorDependency
from service.api.service import Service, ServiceDependency
from service.archive.media.folder import suffix_of
from service.archive.records import InspectionRecord, ViewRecord
from service.archive.searching.viewing import Medium, sha256_of, view_of
from service.errors import NoSuchModel
from service.http.declaration import Scope, declares
from service.inspection.images.pictures import HeatmapKind
from service.inspection.redrawing import Redrawing

router = APIRouter()

_ANY = "application/octet-stream"
_TYPE_OF_SUFFIX = {
    "png": "image/png", "jpg": "image/jpeg", "bmp": "image/bmp", "tif": "image/tiff",
    "webp": "image/webp", "ppm": "image/x-portable-anymap",
}  # fmt: skip
_MAX_AGE_S = 3600

View = Annotated[int, Query(ge=0, lt=10_000, description="the image's number, from 0")]


@router.get(
    "/inspections/{inspection_id}/image",
    summary="The image of a view, as it was posted",
    response_class=Response,
    responses=openapi.IMAGE,
)
@declares(scope=Scope.READ)
async def image(
    request: Request, door: InspectionsDoorDependency, identifier: InspectionId, view: View = 0
) -> Response:
    """Return the posted file; 404, 409 or 410 say why there is none. Its hash was checked."""
    inspection = await door.find_media(identifier)
    sha256 = sha256_of(inspection, view, Medium.IMAGE, door.node)
    if unchanged := _not_modified(request, sha256):
        return unchanged
    _hold(request, view_of(inspection, view).image_bytes or 0)
    content = await door.read(inspection, view, Medium.IMAGE)
    suffix = suffix_of(content)
    name = f"{identifier}-{view}.{suffix}"
    return _answer(content, _TYPE_OF_SUFFIX.get(suffix, _ANY), sha256, name)


@router.get(
    "/inspections/{inspection_id}/heatmap",
    summary="A heatmap of a view, drawn again",
    response_class=Response,
    responses=openapi.HEATMAP,
)
@declares(scope=Scope.READ)
async def heatmap(
    request: Request,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
    identifier: InspectionId,
    view: View = 0,
    kind: Annotated[
        Literal["map", "overlay", "mask"], Query(description="as `heatmap` of `POST /detect`")
    ] = "map",
) -> Response:
    """Draw a heatmap from the stored map: what `POST /detect` answered, up to 16-bit rounding.

    An overlay needs the image, too. 404, 409 or 410 say why the map or the image is not there.
    """
    inspection = await door.find_media(identifier)
    sha256 = sha256_of(inspection, view, Medium.MAP, door.node)
    if kind == "overlay":
        sha256_of(inspection, view, Medium.IMAGE, door.node)
    tag = f"{sha256}-{kind}"
    if unchanged := _not_modified(request, tag):
        return unchanged
    if kind == "overlay":
        _hold(request, view_of(inspection, view).image_bytes or 0)
    redrawing = await _redrawing(service, door, inspection, view, HeatmapKind(kind))
    content = await door.redrawer.draw(redrawing)
    _hold(request, len(content))
    return _answer(content, "image/png", tag, f"{identifier}-{view}-{kind}.png")


async def _redrawing(
    service: Service,
    door: InspectionsDoor,
    inspection: InspectionRecord,
    number: int,
    kind: HeatmapKind,
) -> Redrawing:
    view = view_of(inspection, number)
    raw_map = await door.read(inspection, number, Medium.MAP)
    assert view.width is not None  # a view with a map was decoded
    assert view.height is not None
    size = (view.width, view.height)
    if kind is not HeatmapKind.OVERLAY:
        return Redrawing(kind, raw_map, size)
    content = await door.read(inspection, number, Medium.IMAGE)
    bits = _grey_bits(service, inspection)
    return Redrawing(kind, raw_map, size, content, _regions(view), bits)


def _grey_bits(service: Service, inspection: InspectionRecord) -> int:
    """Return how many bits of 16-bit grey images the checkpoint used; 16 if it is gone."""
    try:
        name, version = inspection.model_name or "", inspection.model_version or ""
        routes = service.registry.version(name, version).routes or {}
    except NoSuchModel:
        return 16
    route = routes.get(inspection.category)
    return route.preprocessing.grey_bits if route else 16


def _regions(view: ViewRecord) -> list[Region]:
    return [_region(region) for region in view.regions]


def _region(region: Mapping[str, Any]) -> Region:
    peak = region["peak"]
    return Region(
        box=(region["x"], region["y"], region["width"], region["height"]),
        area_px=region["area_px"],
        peak=(peak["x"], peak["y"]),
        peak_score=region["peak_score"],
    )


def _hold(request: Request, count: int) -> None:
    """Reserve memory until the answer is sent. Raises `AnswerTooLarge` or `BodiesFull`."""
    hold_answer: Callable[[int], None] = request.scope["state"]["hold_answer"]
    hold_answer(count)


def _answer(content: bytes, media_type: str, tag: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(content, headers={**_headers(tag), **disposition}, media_type=media_type)


def _not_modified(request: Request, tag: str) -> Response | None:
    """Return 304 if the client has the content with this tag."""
    given = request.headers.get("if-none-match", "")
    tags = {one.strip().removeprefix("W/") for one in given.split(",")}
    return Response(status_code=304, headers=_headers(tag)) if f'"{tag}"' in tags else None


def _headers(tag: str) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": f"private, max-age={_MAX_AGE_S}"}
