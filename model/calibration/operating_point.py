"""Choose thresholds with examples of defects.

A threshold from good parts only bounds the rate of false rejects, not of escapes. With scores of
defective examples, it can be chosen for a maximal escape rate, the highest F1, or the lowest cost
per part; scores between OK and NG can become REVIEW.

Only the escape rate has a guarantee, by the argument of `model.calibration.conformal` in reverse:
the next defect like the m examples is equally likely to have any of the m + 1 ranks. Thresholds for
F1 and cost are fitted to the examples, so results on the line will be worse.

    n, m   number of good and of defective images
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.calibration.conformal import (
    Column,
    check_rate,
    column,
    conformal_lower_quantile,
    percent,
    ranks_above,
    rate_interval,
)
from model.errors import CalibrationError
from model.stored import Stored

_MOST_IMAGES = 10**9
_MOST_CHARACTERS = 1000


class Thresholds(NamedTuple):
    """NG strictly above `image`; REVIEW above `review` and not above `image`."""

    image: float
    review: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint(Stored):
    """How thresholds were chosen with defective examples, and the decisions on the examples.

    `goal` is a description. Of the `good_images`, `false_rejects` are NG and `good_reviews` REVIEW;
    of the `defect_images`, `escapes` are OK and `defect_reviews` REVIEW. `escape_rate` is the
    guaranteed bound for defects like the examples, or None. `keeps_alpha`: the NG threshold, and
    thus its guarantee, is the one from good parts only.
    """

    goal: str
    keeps_alpha: bool
    good_images: int
    false_rejects: int
    good_reviews: int
    defect_images: int
    escapes: int
    defect_reviews: int
    escape_rate: float | None = None

    def __post_init__(self) -> None:
        counts = (
            (self.good_images, self.false_rejects, self.good_reviews),
            (self.defect_images, self.escapes, self.defect_reviews),
        )
        for total, first, second in counts:
            if not 1 <= total <= _MOST_IMAGES or min(first, second) < 0 or first + second > total:
                raise CalibrationError(
                    f"an operating point counts {first} and {second} of {total} images: expected "
                    f"1 to {_MOST_IMAGES} images, and counts of at least 0 with a sum of at most "
                    "the number of images"
                )
        if len(self.goal) > _MOST_CHARACTERS:
            raise CalibrationError(f"goal must be at most {_MOST_CHARACTERS} characters long")
        if self.escape_rate is not None and not 0 <= self.escape_rate <= 1:
            raise CalibrationError(f"escape_rate must be 0 to 1, got {self.escape_rate}")

    def text(self) -> str:
        """Describe in a few sentences the decisions on the examples, and the guarantee if any."""
        sentences = [
            f"Chosen for {self.goal}.",
            f"Of {self.good_images} good images, {_share(self.false_rejects, self.good_images)} "
            f"are rejected; of {self.defect_images} defective ones, "
            f"{_share(self.escapes, self.defect_images)} escape.",
        ]
        if self.good_reviews or self.defect_reviews:
            sentences.append(
                f"REVIEW: {self.good_reviews} good and {self.defect_reviews} defective images."
            )
        if self.escape_rate is not None:
            sentences.append(
                f"Of defects like these, at most {percent(self.escape_rate)} escape on average."
            )
        else:
            sentences.append(
                "The thresholds were fitted to these images: expect worse rates on the line."
            )
        return " ".join(sentences)


@dataclass(frozen=True, slots=True)
class EscapeRate:
    """At most `rate` of defects pass as OK; with `review`, scores from there to NG are REVIEW."""

    rate: float
    review: bool = True

    def __post_init__(self) -> None:
        check_rate("the escape rate", self.rate)

    def describe(self) -> str:
        """Name the goal."""
        return f"an escape rate of at most {percent(self.rate)}"

    def choose(self, good: Column, defective: Column, conformal: float) -> Thresholds:
        """Return the `conformal` threshold of good parts if its escape rate is low enough."""
        escape = conformal_lower_quantile(defective, self.rate)
        if escape >= conformal:
            return Thresholds(conformal)
        return Thresholds(conformal, escape) if self.review else Thresholds(escape)

    def promise(self, defect_images: int) -> float:
        """Return the escape rate that this number of examples can guarantee."""
        return ranks_above(defect_images, self.rate) / (defect_images + 1)


@dataclass(frozen=True, slots=True)
class HighestF1:
    """The threshold with the highest F1 for finding defects."""

    def describe(self) -> str:
        """Name the goal."""
        return "the highest F1"

    def choose(self, good: Column, defective: Column, conformal: float) -> Thresholds:
        """Try every threshold between two scores; among equals, the lowest has fewest escapes."""
        candidates = _candidates(good, defective)
        hits = len(defective) - _at_most(defective, candidates)
        false_rejects = len(good) - _at_most(good, candidates)
        f1 = 2 * hits / (len(defective) + hits + false_rejects)
        return Thresholds(float(candidates[np.argmax(f1)]))

    def promise(self, defect_images: int) -> None:
        """Promise nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowestCost:
    """The thresholds with the lowest average cost per part.

    `false_reject`, `escape` and `review` are the costs of a rejected good part, a passed defect and
    a review by a person, in the same unit; without `review` there is no REVIEW band. `defect_rate`
    is the share of defective parts on the line. Reviews are assumed to be correct.
    """

    false_reject: float
    escape: float
    review: float | None = None
    defect_rate: float = 0.01

    def __post_init__(self) -> None:
        for name in ("false_reject", "escape", "review"):
            cost = getattr(self, name)
            if cost is not None and not 0 < cost < math.inf:
                raise CalibrationError(f"the cost of {name} must be above 0, got {cost}")
        check_rate("the defect rate", self.defect_rate)

    def describe(self) -> str:
        """Name the goal."""
        look = "" if self.review is None else f", a review {self.review:g}"
        return (
            f"the lowest cost (a false reject {self.false_reject:g}, an escape {self.escape:g}"
            f"{look}; {percent(self.defect_rate)} of parts defective)"
        )

    def choose(self, good: Column, defective: Column, conformal: float) -> Thresholds:
        """Try every threshold between two scores, and every pair of them for a band."""
        candidates = _candidates(good, defective)
        below_good = _at_most(good, candidates) / len(good)
        below_defective = _at_most(defective, candidates) / len(defective)
        escaped = self.defect_rate * self.escape * below_defective
        rejected = (1 - self.defect_rate) * self.false_reject * (1 - below_good)
        if self.review is None:
            return Thresholds(float(candidates[np.argmin(escaped + rejected)]))
        below = self.defect_rate * below_defective + (1 - self.defect_rate) * below_good
        seen = self.review * below  # the cost of reviewing everything up to a candidate
        low, high = _cheapest_pair(escaped - seen, rejected + seen)
        review = None if low == high else float(candidates[low])
        return Thresholds(float(candidates[high]), review)

    def promise(self, defect_images: int) -> None:
        """Promise nothing."""


Goal = EscapeRate | HighestF1 | LowestCost


def choose(
    goal: Goal, good: npt.ArrayLike, defective: npt.ArrayLike, conformal: float
) -> tuple[Thresholds, OperatingPoint]:
    """Choose thresholds for `goal` from raw scores of good and of defective images.

    `conformal` is the threshold from good parts only. Raises `CalibrationError` for empty or
    non-finite scores.
    """
    goods, defects = column("good scores", good), column("defective scores", defective)
    thresholds = goal.choose(goods, defects, conformal)
    return thresholds, _observe(goal, thresholds, goods, defects, conformal)


def _observe(
    goal: Goal, thresholds: Thresholds, good: Column, defective: Column, conformal: float
) -> OperatingPoint:
    """Count the decisions on the examples."""
    review = thresholds.image if thresholds.review is None else thresholds.review
    counts = [
        (np.count_nonzero(scores <= review), np.count_nonzero(scores <= thresholds.image), scores)
        for scores in (good, defective)
    ]
    (good_ok, good_not_ng, goods), (escapes, defects_not_ng, defects) = counts
    return OperatingPoint(
        goal=goal.describe(),
        keeps_alpha=thresholds.image == conformal,
        good_images=len(goods),
        false_rejects=len(goods) - int(good_not_ng),
        good_reviews=int(good_not_ng - good_ok),
        defect_images=len(defects),
        escapes=int(escapes),
        defect_reviews=int(defects_not_ng - escapes),
        escape_rate=goal.promise(len(defects)),
    )


def _candidates(good: Column, defective: Column) -> Column:
    """Return thresholds halfway between adjacent scores, one below all and one at the highest."""
    scores = np.unique(np.concatenate([good, defective]))
    below, above = np.nextafter(scores[0], -np.inf), scores[-1]
    return np.concatenate([[below], (scores[:-1] + scores[1:]) / 2, [above]])


def _at_most(scores: Column, thresholds: Column) -> npt.NDArray[np.int64]:
    return np.searchsorted(np.sort(scores), thresholds, side="right")


def _cheapest_pair(low_cost: Column, high_cost: Column) -> tuple[int, int]:
    """Return low <= high with the least low_cost[low] + high_cost[high]."""
    # The running minimum gives the best lower end for each upper end.
    lowest = np.minimum.accumulate(low_cost)
    high = int(np.argmin(lowest + high_cost))
    low = int(np.argmin(low_cost[: high + 1]))
    return low, high


def _share(count: int, total: int) -> str:
    low, high = rate_interval(count, total)
    return f"{count} ({percent(count / total)}; 95 % interval {percent(low)} to {percent(high)})"
