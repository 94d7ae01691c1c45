"""What came out of an inspection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from model.inspection import Decision
from service.inspection.options import PartFields
from service.versions.registry import Route
from service.workers.pipe.messages import Finding

_GRAVEST_FIRST = (Decision.NG, Decision.UNDECIDED, Decision.REVIEW, Decision.OK)


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """What was found in one image of a part, and by which version; `size` is (width, height).

    The finding has its map where the options ask for it. `picture` is what was drawn: the base64 of
    a PNG, or what the options' `draw` returned.
    """

    route: Route
    finding: Finding
    size: tuple[int, int]
    timings_ms: Mapping[str, float]
    part: PartFields
    picture: str | None = None


ViewResult: TypeAlias = Inspected | Exception


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """What was found in each view of a part, or why it was not inspected, in the views' order."""

    route: Route
    views: Sequence[ViewResult]

    @property
    def errors(self) -> dict[int, Exception]:
        """Why views were not inspected, by their place."""
        return {i: view for i, view in enumerate(self.views) if isinstance(view, Exception)}

    @property
    def decision(self) -> Decision:
        """The one decision that stands for all views; see `combined`."""
        return combined(
            Decision.UNDECIDED if isinstance(view, Exception) else view.finding.decision
            for view in self.views
        )


def combined(decisions: Iterable[Decision]) -> Decision:
    """Return the one decision that stands for several images: OK only where every one is.

    NG goes before UNDECIDED: a part that is NG in one view is so whatever another would show.
    UNDECIDED where there are none.
    """
    found = set(decisions)
    return next((decision for decision in _GRAVEST_FIRST if decision in found), Decision.UNDECIDED)
