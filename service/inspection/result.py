"""Results of an inspection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from model.checkpoints.key import CheckpointKey
from model.inspection import Category, Decision
from service.errors import ClientGone, ServiceError
from service.inspection.images.preparing import Prepared
from service.inspection.images.sources import Fingerprint
from service.inspection.options import PartFields
from service.problem_types import INTERNAL, PROBLEM_TYPES, ProblemType
from service.versions.registry import Route
from service.workers.pipe.messages import Finding

_GRAVEST_FIRST = (Decision.NG, Decision.UNDECIDED, Decision.REVIEW, Decision.OK)


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """The finding in one image of a part; `size` is (width, height).

    The finding has its map if the options ask for it. `picture` is the base64 of a PNG, or the
    result of the options' `draw`.
    """

    category: Category
    checkpoint: CheckpointKey
    finding: Finding
    size: tuple[int, int]
    timings_ms: Mapping[str, float]
    part: PartFields
    picture: str | None = None


ViewResult: TypeAlias = Inspected | Exception


@dataclass(slots=True, eq=False)
class Attempt:
    """What became of one view: its result, and what the record and the observers need of it.

    `map_file` is the map as a file, if the decision is one of the options' `maps_of`.
    """

    result: ViewResult
    prepared: Prepared | None = None
    fingerprint: Fingerprint | None = None
    map_file: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """For each view of a part, in order: its finding, or the exception that prevented one.

    `route` is None for a journaled result whose version serves no more. `archived` says whether
    the journal has the part for good; None: there is no archive, or nobody waited for it. A
    `replayed` result is the journal's. `all_or_none` is that of the request.
    """

    route: Route | None
    views: Sequence[ViewResult]
    inspection_id: UUID
    archived: bool | None = None
    replayed: bool = False
    all_or_none: bool = False

    @property
    def errors(self) -> dict[int, Exception]:
        """The exceptions of views that were not inspected, by index."""
        return {i: view for i, view in enumerate(self.views) if isinstance(view, Exception)}

    @property
    def decision(self) -> Decision:
        """The decision for the part; see `combined`."""
        if self.failed:
            return Decision.UNDECIDED
        return combined(
            Decision.UNDECIDED if isinstance(view, Exception) else view.finding.decision
            for view in self.views
        )

    @property
    def failed(self) -> bool:
        """Whether the answer is a problem: every view failed, or with `all_or_none` any did."""
        errors = self.errors
        return bool(errors) and (self.all_or_none or len(errors) == len(self.views))

    @property
    def checkpoint(self) -> CheckpointKey | None:
        """The checkpoint that inspected the part; None for a journaled part that was not."""
        if self.route is not None:
            return self.route.checkpoint
        inspected = (view for view in self.views if isinstance(view, Inspected))
        return next((view.checkpoint for view in inspected), None)

    @property
    def worst_error(self) -> int | None:
        """The view whose exception has the highest status; None without exceptions.

        So a fault of the service does not look like the client's.
        """
        errors = self.errors
        return max(errors, key=lambda i: problem_type_of(errors[i]).status) if errors else None


def problem_type_of(error: Exception) -> ProblemType:
    """Return the kind of problem that an exception is."""
    return PROBLEM_TYPES[type(error)] if isinstance(error, ServiceError) else INTERNAL


def problem_of_part(error: BaseException) -> tuple[str, str]:
    """Return the slug and the detail of a problem for the record."""
    if isinstance(error, ServiceError):
        return problem_type_of(error).slug, str(error)
    if isinstance(error, Exception):
        return INTERNAL.slug, "the service failed on this part: search its log for the request id"
    # A request is cancelled when its client leaves.
    return PROBLEM_TYPES[ClientGone].slug, "the connection closed before the answer"


def forget_traceback(error: Exception) -> Exception:
    """Return the exception without its frames, which would keep a decoded image in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def combined(decisions: Iterable[Decision]) -> Decision:
    """Return the decision for a part from those of its images; UNDECIDED without any.

    OK only if every image is OK. NG goes before UNDECIDED: one NG view is enough to reject.

    >>> combined([Decision.OK, Decision.REVIEW]).value
    'REVIEW'
    """
    distinct = set(decisions)
    return next((gravest for gravest in _GRAVEST_FIRST if gravest in distinct), Decision.UNDECIDED)
