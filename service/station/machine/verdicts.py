"""The result that the line acts on: verdict, its reason, and the fail-safe of a part without one.

outcome = Outcome(Verdict.UNDECIDED, Reason.DEADLINE, FailSafe.NG)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """What the line does with a part; only OK lets it pass."""

    NONE = 0
    OK = 1
    NG = 2
    REVIEW = 3
    UNDECIDED = 4
    INPUT_PROBLEM = 5

    @property
    def was_inspected(self) -> bool:
        """Whether the network decided."""
        return self in (Verdict.OK, Verdict.NG, Verdict.REVIEW)


WORST_FIRST = (
    Verdict.NG,
    Verdict.UNDECIDED,
    Verdict.INPUT_PROBLEM,
    Verdict.REVIEW,
    Verdict.OK,
)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a part from those of its views; no views are UNDECIDED.

    >>> worst([Verdict.OK, Verdict.INPUT_PROBLEM]).name
    'INPUT_PROBLEM'
    """
    present = set(verdicts)
    if not present <= set(WORST_FIRST):
        return Verdict.UNDECIDED
    return next((verdict for verdict in WORST_FIRST if verdict in present), Verdict.UNDECIDED)


class Reason(IntEnum):
    """Why a part has no decision of the network."""

    NONE = 0
    DEADLINE = 1
    SERVICE_AWAY = 2
    SERVICE_REFUSED = 3
    INSPECTION_FAILED = 4
    CAMERA_SILENT = 5
    IMAGE_UNREADABLE = 6
    IMAGE_BLACK = 7
    IMAGE_FROZEN = 8
    ABORTED = 9
    STATION_RESTARTED = 10
    IMAGE_SIZE = 11


class FailSafe(IntEnum):
    """What the line should do with a part that was not inspected."""

    NONE = 0
    NG = 1
    REVIEW = 2
    STOP = 3


NO_SCORE = 0xFFFF
SCORE_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the line is told about a part; `score` is from 0 to 1."""

    verdict: Verdict
    reason: Reason = Reason.NONE
    fail_safe: FailSafe = FailSafe.NONE
    score: float | None = None

    def __post_init__(self) -> None:
        inspected = self.verdict.was_inspected
        if inspected != (self.reason is Reason.NONE) or self.verdict is Verdict.NONE:
            raise ValueError(
                f"expected a decision, or a verdict without inspection and its reason, got {self}"
            )

    @property
    def score_register(self) -> int:
        """The score as a 16-bit number: 10,000 is a score of 1, 65,535 is no score."""
        if self.score is None:
            return NO_SCORE
        return round(SCORE_STEPS * min(1.0, max(0.0, self.score)))
