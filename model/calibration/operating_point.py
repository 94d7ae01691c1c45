"""Where to draw the line when examples of defects are there, too.

A threshold from good parts alone says how many good ones are rejected, and nothing of how many
defective ones escape. With scores of defective examples, it can be put where at most a stated share
escapes, where F1 is highest, or where a part costs the least; and between OK and NG there can be a
band for a person to look at, REVIEW.

Of these only the escape rate carries a promise, by the argument of `model.calibration.calibration`
upside down: the next defect like the m examples is equally likely to take any of the m + 1 ranks.
What F1 and cost choose is fitted to the examples, and so better on them than it will be on the
line.

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
    """How thresholds were chosen with defective examples, and what they do to the examples.

    `goal` says it in words. Of the `good_images`, `false_rejects` are NG and `good_reviews` REVIEW;
    of the `defect_images`, `escapes` are OK and `defect_reviews` REVIEW. `escape_rate` is what is
    promised of defects like the examples, and absent where nothing is. `keeps_alpha` says whether
    NG still begins where the good parts alone put it, and their promise with it.
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
                    f"1 to {_MOST_IMAGES} images, and counts from 0 that are no more together"
                )
        if len(self.goal) > _MOST_CHARACTERS:
            raise CalibrationError(f"goal must be at most {_MOST_CHARACTERS} characters long")
        if self.escape_rate is not None and not 0 <= self.escape_rate <= 1:
            raise CalibrationError(f"escape_rate must be 0 to 1, got {self.escape_rate}")

    def text(self) -> str:
        """Say in a few sentences what the thresholds did, and what of it is a promise."""
        said = [
            f"Chosen for {self.goal}.",
            f"Of {self.good_images} good images, {_share(self.false_rejects, self.good_images)} "
            f"are rejected; of {self.defect_images} defective ones, "
            f"{_share(self.escapes, self.defect_images)} escape.",
        ]
        if self.good_reviews or self.defect_reviews:
            said.append(
                f"A person looks at {self.good_reviews} good and {self.defect_reviews} defective."
            )
        if self.escape_rate is not None:
            said.append(
                f"Of defects like these, at most {percent(self.escape_rate)} escape on average."
            )
        else:
            said.append("The thresholds were fitted to these images: expect somewhat worse.")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class EscapeRate:
    """At most `rate` of defects pass as OK; from there to NG is REVIEW, unless `review` is off."""

    rate: float
    review: bool = True

    def __post_init__(self) -> None:
        check_rate("the escape rate", self.rate)

    def describe(self) -> str:
        """Name the goal."""
        return f"an escape rate of at most {percent(self.rate)}"

    def choose(self, good: Column, defective: Column, conformal: float) -> Thresholds:
        """Keep the `conformal` threshold of good parts where that is low enough already."""
        escape = conformal_lower_quantile(defective, self.rate)
        if escape >= conformal:
            return Thresholds(conformal)
        return Thresholds(conformal, escape) if self.review else Thresholds(escape)

    def promise(self, defect_images: int) -> float:
        """Return the escape rate that so many examples can promise."""
        return ranks_above(defect_images, self.rate) / (defect_images + 1)


@dataclass(frozen=True, slots=True)
class HighestF1:
    """The threshold at which F1, defects being what is to be found, is highest."""

    def describe(self) -> str:
        """Name the goal."""
        return "the highest F1"

    def choose(self, good: Column, defective: Column, conformal: float) -> Thresholds:
        """Try every threshold between two scores; of equals, the lowest: fewer escapes."""
        candidates = _candidates(good, defective)
        found = len(defective) - _at_most(defective, candidates)
        wrong = len(good) - _at_most(good, candidates)
        f1 = 2 * found / (len(defective) + found + wrong)
        return Thresholds(float(candidates[np.argmax(f1)]))

    def promise(self, defect_images: int) -> None:
        """Promise nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowestCost:
    """The thresholds at which a part costs the least on average.

    `false_reject`, `escape` and `review` are the costs of one good part scrapped, one defect let
    through and one look by a person, in any one unit; without `review` there is no such band.
    `defect_rate` is the share of defective parts on the line. A person is taken to be right.
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
        seen = self.review * below  # what reviewing everything up to a candidate would cost
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

    `conformal` is the threshold from good parts alone. Raises `CalibrationError` for empty or
    non-finite scores.
    """
    goods, defects = column("good scores", good), column("defective scores", defective)
    thresholds = goal.choose(goods, defects, conformal)
    return thresholds, _observe(goal, thresholds, goods, defects, conformal)


def _observe(
    goal: Goal, thresholds: Thresholds, good: Column, defective: Column, conformal: float
) -> OperatingPoint:
    """Count what `thresholds`, chosen for `goal`, do to the examples."""
    review = thresholds.image if thresholds.review is None else thresholds.review
    counts = [
        (np.count_nonzero(scores <= review), np.count_nonzero(scores <= thresholds.image), scores)
        for scores in (good, defective)
    ]
    (good_ok, good_kept, goods), (escapes, defects_kept, defects) = counts
    return OperatingPoint(
        goal=goal.describe(),
        keeps_alpha=thresholds.image == conformal,
        good_images=len(goods),
        false_rejects=len(goods) - int(good_kept),
        good_reviews=int(good_kept - good_ok),
        defect_images=len(defects),
        escapes=int(escapes),
        defect_reviews=int(defects_kept - escapes),
        escape_rate=goal.promise(len(defects)),
    )


def _candidates(good: Column, defective: Column) -> Column:
    """Return thresholds half-way between neighbouring scores, and one below all, one above."""
    scores = np.unique(np.concatenate([good, defective]))
    below, above = np.nextafter(scores[0], -np.inf), scores[-1]
    return np.concatenate([[below], (scores[:-1] + scores[1:]) / 2, [above]])


def _at_most(scores: Column, thresholds: Column) -> npt.NDArray[np.int64]:
    return np.searchsorted(np.sort(scores), thresholds, side="right")


def _cheapest_pair(low_cost: Column, high_cost: Column) -> tuple[int, int]:
    """Return low <= high with the least low_cost[low] + high_cost[high]."""
    # The lowest cost so far, and where: for each upper end, the best lower end is known.
    lowest = np.minimum.accumulate(low_cost)
    high = int(np.argmin(lowest + high_cost))
    low = int(np.argmin(low_cost[: high + 1]))
    return low, high


def _share(count: int, total: int) -> str:
    low, high = rate_interval(count, total)
    return f"{count} ({percent(count / total)}; 95 % interval {percent(low)} to {percent(high)})"
