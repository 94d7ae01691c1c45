"""When a part is not recorded with its images, and the errors of a part that cannot be recorded."""

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
from service.inspection.result import PartResult

_OF_LOAD = (Unavailable, DeadlineExceeded, RateLimited, ClientGone)


def is_refused(result: PartResult) -> bool:
    """Return whether no view was inspected because of load or time: nothing to keep an image for.

    A worker that died with an image is another matter.
    """
    errors = result.errors.values()
    return len(errors) == len(result.views) and all(
        isinstance(error, _OF_LOAD) and not isinstance(error, WorkerLost) for error in errors
    )


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
