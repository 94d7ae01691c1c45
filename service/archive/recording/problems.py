"""When a part is not recorded with its images, and the errors of a part that cannot be recorded."""

from service.archive.column_types import storable
from service.archive.records import InspectionRecord
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    InspectionIdReused,
    JournalUnavailable,
    RateLimited,
    Unavailable,
    WorkerLost,
)
from service.inspection.request import PartRequest
from service.inspection.result import PartResult
from service.inspection.submission import Origin

_OF_LOAD = (Unavailable, DeadlineExceeded, RateLimited, ClientGone)


def is_refused(result: PartResult) -> bool:
    """Return whether no view was inspected because of load or time: nothing to keep an image for.

    A worker that died with an image is another matter.
    """
    errors = result.errors.values()
    return len(errors) == len(result.views) and all(
        isinstance(error, _OF_LOAD) and not isinstance(error, WorkerLost) for error in errors
    )


def difference_of(record: InspectionRecord, part: PartRequest, *, is_open: bool) -> str | None:
    """Say how a request's fields differ from those that were recorded under its id; None: not.

    An open record may lack fields: its request was refused before they were read.
    """
    if record.category != part.category and record.category:
        return f"is of the category {record.category!r}"
    if (record.origin is Origin.TEST) != (part.submission.origin is Origin.TEST):
        return f"has the origin {record.origin.value!r}"
    for name in ("part_id", "station", "job_id"):
        recorded, stated = getattr(record, name), getattr(part.options.part, name)
        if stated is None or (recorded is None and is_open):
            continue
        if recorded != storable(stated):
            return f"has the {name} {recorded!r}"
    return None


def late() -> DeadlineExceeded:
    """Return the error of a part whose deadline passed before its write began."""
    return DeadlineExceeded("the part was inspected, but not recorded, before its deadline")


def reused(record: InspectionRecord, difference: str) -> InspectionIdReused:
    """Return the error of an id that was used for another part."""
    return InspectionIdReused(
        f"the inspection {record.inspection_id} {difference}: use a new id for each part, and the "
        "same id only to repeat a request"
    )


def unstable(record: InspectionRecord) -> JournalUnavailable:
    """Return the error of a record that others change, or delete, at the same time."""
    return JournalUnavailable(
        f"the inspection {record.inspection_id} was changed by others again and again: try again"
    )
