"""How far the network is ahead of the best baseline, with paired 95 % intervals.

In each resampling, good and defective test images are drawn apart, the same ones for all methods.
Seeds and categories are averaged within a resampling, and so are the sets for the mean. An interval
covers the choice of test images; with three seeds, also some of the luck of training.

A baseline scores an image in four ways (`model.rivals.scores`). The best one on the test images of
all seeds is taken for each set, and then the better baseline: both flatter the baselines.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.quality.measuring import NETWORK
from benchmarks.quality.results import Result, ScoredImages
from model.metrics import Ranking
from model.metrics.resampling import RESAMPLINGS, draw, interval

METRICS = ("image_auroc", "aupro")


@dataclass(frozen=True, slots=True)
class Figures:
    """A method's means over seeds and categories of a set; rates are at the thresholds."""

    method: str
    score: str
    image_auroc: float
    aupro: float | None
    escape_rate: float
    false_reject_rate: float
    train_s: float
    inspect_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """A metric of the network minus that of the best baseline, which is named."""

    best: str
    difference: float
    replicates: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that contains 95 % of the resamplings."""
        return interval(self.replicates)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        pair = list(self.interval)
        return {"best": self.best, "difference": self.difference, "interval": pair}


@dataclass(frozen=True, slots=True)
class Standing:
    """All methods on one set, and the network's differences from the best baseline by metric."""

    set_name: str
    role: str
    seeds: int
    figures: Mapping[str, Figures]
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "set": self.set_name,
            "role": self.role,
            "seeds": self.seeds,
            "methods": {name: asdict(figures) for name, figures in self.figures.items()},
            "differences": {name: d.to_dict() for name, d in self.differences.items()},
        }


def stand(results: Mapping[str, Sequence[Result]]) -> Standing:
    """Compare the results of one set: each method's, of the same seeds in the same order."""
    scores = {method: best_score(of_method) for method, of_method in results.items()}
    figures = {m: summarise(of_method, scores[m]) for m, of_method in results.items()}
    differences = {}
    for metric in METRICS:
        values = {m: getattr(f, metric) for m, f in figures.items() if m != NETWORK}
        ours = getattr(figures[NETWORK], metric)
        if ours is None or any(value is None for value in values.values()):
            continue
        best = max(values, key=lambda method: float(values[method]))
        resampled = [_replicates(results[m], metric, scores[m]) for m in (NETWORK, best)]
        differences[metric] = Difference(best, ours - values[best], resampled[0] - resampled[1])
    first = results[NETWORK][0]
    role = str(first.identity["set"]["role"])
    return Standing(first.set_name, role, len(results[NETWORK]), figures, differences)


def average(standings: Sequence[Standing], metric: str) -> Difference | None:
    """Return the mean of the sets' differences; None if no set has the metric."""
    have = [s.differences[metric] for s in standings if metric in s.differences]
    if not have:
        return None
    mean = float(np.mean([d.difference for d in have]))
    return Difference("the best", mean, np.mean([d.replicates for d in have], axis=0))


def best_score(results: Sequence[Result]) -> str:
    """Return the way to score a map with the highest image AUROC over seeds and categories."""
    names = next(iter(results[0].categories.values())).scores
    return max(names, key=lambda name: _mean(results, lambda tested: _auroc(tested, name)))


def summarise(results: Sequence[Result], score: str) -> Figures:
    """Return one method's means over the seeds and categories of a set."""
    has_masks = all(t.aupro is not None for r in results for t in r.categories.values())
    return Figures(
        method=results[0].method,
        score=score,
        image_auroc=_mean(results, lambda tested: _auroc(tested, score)),
        aupro=_mean(results, lambda tested: tested.aupro or 0.0) if has_masks else None,
        escape_rate=_mean(results, lambda t: np.mean(~t.rejected(score)[t.defective])),
        false_reject_rate=_mean(results, lambda t: np.mean(t.rejected(score)[~t.defective])),
        train_s=float(np.mean([r.train_s for r in results])),
        inspect_ms=float(np.median([r.inspect_ms for r in results])),
    )


def _mean(
    results: Sequence[Result], value: Callable[[ScoredImages], float | np.floating[Any]]
) -> float:
    return float(np.mean([value(t) for r in results for t in r.categories.values()]))


def _auroc(tested: ScoredImages, score: str) -> float:
    values = np.array(tested.scores[score])
    return float(Ranking(tested.defective, values).ranks().auroc[0])


def _replicates(results: Sequence[Result], metric: str, score: str) -> np.ndarray:
    """Return the metric in each resampling, averaged over seeds and categories."""
    tested = [t for result in results for t in result.categories.values()]
    if metric == "aupro":
        return np.mean([t.aupro_replicates for t in tested], axis=0)
    replicates = []
    for each in tested:
        ranking = Ranking(each.defective, np.array(each.scores[score]))
        weights = draw(each.defective, RESAMPLINGS, each.draws)
        replicates.append(ranking.ranks(weights).auroc)
    mean: np.ndarray = np.mean(replicates, axis=0)
    return mean
