"""The picture of an archived part's view, with the layers that are kept.

picture = await picture_of(visit.root, door, record, number=0)
"""

import asyncio

from model.inspection import Region
from service.api.inspections.door import InspectionsDoor
from service.archive.records import InspectionRecord, MediaState, ViewRecord
from service.archive.searching.viewing import Medium, view_of
from service.console.images.contours import contours
from service.console.images.pictures import Picture
from service.errors import MediaDamaged, ServiceError
from service.inspection.images.maps import read_map


async def picture_of(
    root: str, door: InspectionsDoor, record: InspectionRecord, number: int
) -> Picture | None:
    """Return a view's picture; None if the view was never decoded.

    `root` is the path below which a proxy serves the service.
    """
    view = view_of(record, number)
    if view.width is None or view.height is None:
        return None
    size = (view.width, view.height)
    lines = ""
    has_map = is_here(record, view.map_state, door.node)
    if has_map:
        try:
            content = await door.read(record, number, Medium.MAP)
            lines = await asyncio.to_thread(lambda: contours(read_map(content), size))
        except (MediaDamaged, ServiceError):
            has_map = False
    return Picture(
        *size,
        photo=photo_address(root, door, record, number),
        heat=f"{_address(root, record)}/heat?view={number}" if has_map else None,
        contours=lines,
        regions=_regions(view),
    )


def photo_address(
    root: str, door: InspectionsDoor, record: InspectionRecord, number: int
) -> str | None:
    """Return the address of a view's image; None if this node has none that can be decoded."""
    view = view_of(record, number)
    is_shown = view.width is not None and is_here(record, view.image_state, door.node)
    return f"{_address(root, record)}/photo?view={number}" if is_shown else None


def is_here(record: InspectionRecord, state: MediaState, node: str) -> bool:
    """Return whether a file of a part is kept by this node."""
    return state is MediaState.KEPT and record.node == node


def _address(root: str, record: InspectionRecord) -> str:
    return f"{root}/console/parts/{record.inspection_id}"


def _regions(view: ViewRecord) -> list[Region]:
    return [
        Region(
            box=(region["x"], region["y"], region["width"], region["height"]),
            area_px=region["area_px"],
            peak=(region["peak"]["x"], region["peak"]["y"]),
            peak_score=region["peak_score"],
        )
        for region in view.regions
    ]
