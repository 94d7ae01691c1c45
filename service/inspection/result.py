"""Results of an inspection."""

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
    """The finding in one image of a part, and its route; `size` is (width, height).

    The finding has its map if the options ask for it. `picture` is the base64 of a PNG, or the
    result of the options' `draw`.
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
    """For each view of a part, in order: its finding, or the exception that prevented one."""

    route: Route
    views: Sequence[ViewResult]

    @property
    def errors(self) -> dict[int, Exception]:
        """The exceptions of views that were not inspected, by index."""
        return {i: view for i, view in enumerate(self.views) if isinstance(view, Exception)}

    @property
    def decision(self) -> Decision:
        """The decision for the part; see `combined`."""
        return combined(
            Decision.UNDECIDED if isinstance(view, Exception) else view.finding.decision
            for view in self.views
        )


def combined(decisions: Iterable[Decision]) -> Decision:
    """Return the decision for a part from those of its images; UNDECIDED without any.

    OK only if every image is OK. NG goes before UNDECIDED: one NG view is enough to reject.

    >>> combined([Decision.OK, Decision.REVIEW]).value
    'REVIEW'
    """
    distinct = set(decisions)
    return next((gravest for gravest in _GRAVEST_FIRST if gravest in distinct), Decision.UNDECIDED)
