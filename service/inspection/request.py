"""A part to inspect, as a door hands it in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL.Image import Image

from model.inspection import Category
from service.identifiers import new_id
from service.inspection.images.sources import Source
from service.inspection.options import InspectOptions
from service.inspection.submission import Submission

_NO_OPTIONS = InspectOptions()


def _fresh() -> Submission:
    return Submission(new_id(), fresh=True)


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part to inspect; its views are one or several images, encoded or decoded.

    `version` must serve the category; None leaves the choice to the route. If a canary shares the
    traffic, a hash of `options.part.part_id` (else of `request_id`) chooses, so that the same part
    always gets the same version. With `all_or_none`, the answer has no place for an error beside
    results: one failed view leaves the part UNDECIDED.
    """

    category: Category
    views: Sequence[Source | Image]
    options: InspectOptions = _NO_OPTIONS
    request_id: str = ""
    version: str | None = None
    submission: Submission = field(default_factory=_fresh)
    all_or_none: bool = False
