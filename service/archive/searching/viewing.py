"""The images and raw maps of archived views, or the reason why there is none.

content = read_medium(media, "line-1", inspection, number=0, medium=Medium.IMAGE)
"""

from datetime import UTC, datetime
from enum import StrEnum

from service.archive.media import MAP_SUFFIX, Media, MediaAltered, MediaGone
from service.archive.records import InspectionRecord, MediaState, ViewRecord
from service.errors import MediaDamaged, MediaDeleted, MediaNotKept, NoSuchInspection, OnOtherNode

_NOT_KEPT = {
    MediaState.NOT_SAMPLED: "was not kept: MAMBAAD_ARCHIVE__KEEP_IMAGES keeps a share of the parts",
    MediaState.NO_SPACE: "was not kept: the disk had too little free space",
    MediaState.MISSING: "does not exist",
}


class Medium(StrEnum):
    """The kinds of files that a view has."""

    IMAGE = "image"
    MAP = "raw map"


def view_of(inspection: InspectionRecord, number: int) -> ViewRecord:
    """Return a view of an inspection. Raises `NoSuchInspection`."""
    if 0 <= number < len(inspection.views):
        return inspection.views[number]
    raise NoSuchInspection(
        f"the inspection {inspection.inspection_id} has {len(inspection.views)} views, counted "
        f"from 0; got view={number}"
    )


def sha256_of(inspection: InspectionRecord, number: int, medium: Medium, node: str) -> str:
    """Return the SHA-256 of a view's file, which this node should have.

    Raises `NoSuchInspection`, `MediaNotKept`, `MediaDeleted` or `OnOtherNode`.
    """
    view = view_of(inspection, number)
    state, sha256, deleted_at = _of(view, medium)
    what = f"the {medium} of view {number}"
    if state is MediaState.DELETED:
        raise MediaDeleted(f"{what} was deleted{_at(deleted_at)}")
    if state is not MediaState.KEPT or sha256 is None:
        raise MediaNotKept(f"{what} {_NOT_KEPT[state]}")
    if inspection.node != node:
        raise OnOtherNode(
            f"{what} is on the node {inspection.node!r}: ask that service", inspection.node
        )
    return sha256


def read_medium(
    media: Media, node: str, inspection: InspectionRecord, *, number: int, medium: Medium
) -> bytes:
    """Return a view's file. Raises as `sha256_of`, and `MediaDamaged`."""
    sha256 = sha256_of(inspection, number, medium, node)
    day = inspection.received_at.astimezone(UTC).date()
    suffix = MAP_SUFFIX if medium is Medium.MAP else None
    try:
        return media.read(sha256, day, suffix)
    except MediaGone as error:
        fault = "is gone, though nobody deleted it through the service"
        raise MediaDamaged(_damage(number, medium, fault)) from error
    except MediaAltered as error:
        raise MediaDamaged(_damage(number, medium, "was altered or cannot be read")) from error


def _of(view: ViewRecord, medium: Medium) -> tuple[MediaState, str | None, datetime | None]:
    if medium is Medium.IMAGE:
        return view.image_state, view.image_sha256, view.image_deleted_at
    return view.map_state, view.map_sha256, view.map_deleted_at


def _at(moment: datetime | None) -> str:
    return f" at {moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _damage(number: int, medium: Medium, fault: str) -> str:
    return (
        f"the file of the {medium} of view {number} {fault}: restore it from a backup; "
        "`mambaad archive check` lists all such files"
    )
