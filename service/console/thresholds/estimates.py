"""Rates of false rejects and escapes at every threshold, from a stratified sample of verdicts.

People judge all parts that the line was told to reject or review, but only a random sample of those
told OK. So each told decision is a stratum: a judged part of it stands for (parts of the stratum) /
(judged parts of the stratum) parts. With the parts' share A of the good ones rejected and B of the
good ones not rejected, the false-reject rate is A / (A + B); the escape rate likewise, of defective
ones passed.

The 95 % interval has all rates r at which A (1 - r) - B r may be 0. A and B are sums over the
strata, each with Wilson's interval (E. B. Wilson, JASA 22, 1927); the intervals of a sum follow
from those of its terms by the method of variance estimates recovery (G. Y. Zou, A. Donner,
Statistics in Medicine 27, 2008), with the correlation of two counts of one sample. Thus a stratum
without any escape among few judged parts still widens the interval by all the parts that it stands
for, where a variance estimated from zero escapes would be zero.

The rates are those of the line, not of these parts alone: so the shares of the strata are estimates
too, and vary as in two-phase sampling (W. G. Cochran, Sampling Techniques, 1977, chapter 12).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.inspection import Decision
from service.archive.records import Verdict
from service.console.thresholds.scores import TOLD, VERDICTS, ScoredParts

Values: TypeAlias = npt.NDArray[np.float64]

FEW = 30
"""Fewer judged parts of a kind say little."""

_Z = 1.959963984540054  # of the normal distribution: 95 % within
_HALVINGS = 26  # to 1e-8


@dataclass(frozen=True, slots=True)
class Stratum:
    """The parts that the line was told one decision; `good` and `defective` were judged."""

    told: Decision
    parts: int
    good: int
    defective: int

    @property
    def judged(self) -> int:
        """The number of judged parts."""
        return self.good + self.defective

    @property
    def weight(self) -> float | None:
        """The number of parts that a judged one stands for; None if none was judged."""
        return self.parts / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Curve:
    """A rate at every place: entry i holds from `scores[i - 1]` to before `scores[i]`.

    `rate`, `low` and `high` are of the good parts, or of the defective ones; `share` is of all
    parts. They are NaN where no judged part says anything.
    """

    rate: Values
    low: Values
    high: Values
    share: Values


@dataclass(frozen=True, slots=True)
class Estimates:
    """False rejects by the threshold, and escapes by the highest score that passes.

    `scores` are the distinct scores of the judged parts, ascending. `unjudged` are the parts of
    strata without a verdict: the rates are about the others.
    """

    scores: Values
    strata: Sequence[Stratum]
    false_rejects: Curve
    escapes: Curve
    unjudged: int

    @property
    def good(self) -> int:
        """The number of parts judged good."""
        return sum(stratum.good for stratum in self.strata)

    @property
    def defective(self) -> int:
        """The number of parts judged defective."""
        return sum(stratum.defective for stratum in self.strata)


def estimate(parts: ScoredParts) -> Estimates:
    """Return the rates at every place.

    All are NaN if no sampled OK part was judged though there are OK parts: those hold the escapes.
    """
    scores = np.unique(parts.raw[parts.is_judged])
    strata = [_stratum(parts, told) for told in range(len(TOLD))]
    used = [place for place, stratum in enumerate(strata) if stratum.judged]
    is_blind = strata[0].parts > 0 and not strata[0].judged
    if is_blind or not used:
        nothing = np.full(len(scores) + 1, np.nan)
        curve = Curve(nothing, nothing, nothing, nothing)
        return Estimates(scores, _present(strata), curve, curve, len(parts))
    totals = np.array([strata[told].parts for told in used], np.float64)
    judged = np.array([strata[told].judged for told in used], np.float64)
    # Entries are from scores[i - 1], where most parts are above, to before scores[i], where fewest.
    starts = np.concatenate([[-np.inf], scores])
    ends = np.concatenate([np.nextafter(scores, -np.inf), [np.inf]])
    good = _Sides.of(parts, used, 1, starts, ends)
    defective = _Sides.of(parts, used, 2, starts, ends)
    return Estimates(
        scores,
        _present(strata),
        _curve(good.above, good.below, totals, judged, good.has_above, good.has_below),
        _curve(
            defective.below, defective.above, totals, judged, defective.has_below,
            defective.has_above,
        ),
        int(len(parts) - totals.sum()),
    )  # fmt: skip


def _stratum(parts: ScoredParts, told: int) -> Stratum:
    is_told = parts.told == told
    judged = parts.verdicts[is_told & parts.is_judged]
    good, defective = (
        int(np.count_nonzero(judged == VERDICTS.index(verdict)))
        for verdict in (Verdict.GOOD, Verdict.DEFECTIVE)
    )
    return Stratum(TOLD[told], int(np.count_nonzero(is_told)), good, defective)


def _present(strata: Sequence[Stratum]) -> list[Stratum]:
    return [stratum for stratum in strata if stratum.parts]


@dataclass(frozen=True, slots=True)
class _Sides:
    """Judged parts of one verdict on both sides of each place, [stratum, place].

    `has_above` and `has_below` say whether the stratum has any part there, judged or not.
    """

    above: Values
    below: Values
    has_above: npt.NDArray[np.bool_]
    has_below: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, parts: ScoredParts, strata: Sequence[int], verdict: int, starts: Values, ends: Values
    ) -> "_Sides":
        below, totals, has_above, has_below = [], [], [], []
        for told in strata:
            raw = parts.raw[parts.told == told]
            of_verdict = (parts.told == told) & (parts.verdicts == verdict) & parts.is_judged
            judged = parts.raw[of_verdict]
            below.append(np.searchsorted(judged, starts, side="right"))
            totals.append(len(judged))
            has_above.append(np.searchsorted(raw, starts, side="right") < len(raw))
            has_below.append(np.searchsorted(raw, ends, side="right") > 0)
        counts = np.array(below, np.float64)
        above = np.array(totals, np.float64)[:, None] - counts
        return cls(above, counts, np.array(has_above), np.array(has_below))


def _curve(
    counted: Values,
    others: Values,
    totals: Values,
    judged: Values,
    may_count: npt.NDArray[np.bool_],
    may_be_other: npt.NDArray[np.bool_],
) -> Curve:
    """Return the curve of counted / (counted + others); both are [stratum, place]."""
    sizes, weights = judged[:, None], (totals / totals.sum())[:, None]
    first = _Part.of(counted, sizes, may_count)
    second = _Part.of(others, sizes, may_be_other)
    share = (weights * first.rate).sum(axis=0)
    all_of_kind = share + (weights * second.rate).sum(axis=0)
    known = all_of_kind > 0
    rate = np.divide(share, all_of_kind, out=np.full(share.shape, np.nan), where=known)
    low, high = _limits(first, second, weights, float(totals.sum()))
    return Curve(rate, np.where(known, low, np.nan), np.where(known, high, np.nan), share)


@dataclass(frozen=True, slots=True)
class _Part:
    """A share of each stratum, and the distances to the ends of its interval."""

    rate: Values
    to_low: Values
    to_high: Values

    @classmethod
    def of(cls, counts: Values, sizes: Values, possible: npt.NDArray[np.bool_]) -> "_Part":
        low, high = wilson(counts, sizes)
        rate = counts / sizes
        # Where a stratum has no part on this side, there is nothing to estimate.
        return cls(rate, np.where(possible, rate - low, 0), np.where(possible, high - rate, 0))


def wilson(counts: Values, sizes: Values) -> tuple[Values, Values]:
    """Return Wilson's 95 % interval of each share counts / sizes."""
    rate, extra = counts / sizes, _Z**2 / sizes
    middle = (rate + extra / 2) / (1 + extra)
    half = _Z * np.sqrt(rate * (1 - rate) / sizes + extra / (4 * sizes)) / (1 + extra)
    low = np.where(counts == 0, 0.0, middle - half)
    high = np.where(counts == sizes, 1.0, middle + half)
    return np.clip(low, 0, rate), np.clip(high, rate, 1)


def _limits(first: _Part, second: _Part, weights: Values, parts: float) -> tuple[Values, Values]:
    """Return the smallest and the largest rate that the intervals of both parts allow."""
    odds = (1 - first.rate) * (1 - second.rate)
    product = first.rate * second.rate
    # Counts of one sample: the more of the first, the fewer of the second.
    correlation = np.sqrt(np.divide(product, odds, out=np.ones(odds.shape), where=odds > 1e-12))
    correlation = np.minimum(correlation, 1.0)

    def distance(rate: Values, of_first: Values, of_second: Values) -> Values:
        a, b = (1 - rate) * of_first, rate * of_second
        within = (weights**2 * (a**2 + b**2 + 2 * correlation * a * b)).sum(axis=0)
        of_stratum = (1 - rate) * first.rate - rate * second.rate
        between = (weights * (of_stratum - difference(rate)) ** 2).sum(axis=0)
        return np.asarray(np.sqrt(within + _Z**2 * between / parts))

    def difference(rate: Values) -> Values:
        return np.asarray((weights * ((1 - rate) * first.rate - rate * second.rate)).sum(axis=0))

    low = _root(lambda rate: difference(rate) - distance(rate, first.to_low, second.to_high), first)
    high = _root(
        lambda rate: difference(rate) + distance(rate, first.to_high, second.to_low), first
    )
    return low, high


def _root(falling: Callable[[Values], Values], shape_of: _Part) -> Values:
    """Return where a falling function of a rate from 0 to 1 becomes 0, for each place."""
    low = np.zeros(shape_of.rate.shape[1])
    high = np.ones(shape_of.rate.shape[1])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_above = falling(middle) > 0
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    return (low + high) / 2
