"""How well scores rank the defective above the good: AUROC, AP, F1-max, and their curves.

Every distinct score is a threshold, from the highest down; ties cross it together, as in
scikit-learn. Each resampling may weight each score, so that one sort serves a whole bootstrap.

    R  resamplings    n  scores    d  distinct scores
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int, Shaped

from model.errors import NonFiniteOutput

_BLOCK = 4_000_000
"""Largest size of one (resamplings, scores) array."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """AUROC, AP and F1-max of each resampling."""

    auroc: Float[np.ndarray, " R"]
    average_precision: Float[np.ndarray, " R"]
    f1_max: Float[np.ndarray, " R"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Scores with their labels, at least one good and one defective."""

    labels: Bool[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    _order: Int[np.ndarray, " n"] = field(init=False, repr=False)
    _ends: Int[np.ndarray, " d"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not has_both(self.labels, self.scores):
            raise ValueError("a ranking needs both good and defective labels; all are of one kind")
        order = np.argsort(-self.scores, kind="stable")
        ranked = self.scores[order]
        object.__setattr__(self, "_order", order)
        object.__setattr__(
            self, "_ends", np.append(np.flatnonzero(np.diff(ranked)), len(order) - 1)
        )

    @property
    def thresholds(self) -> Float[np.ndarray, " d"]:
        """The distinct scores, from the highest down."""
        distinct: np.ndarray = self.scores[self._order][self._ends]
        return distinct

    def roc(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Return false-positive rate and recall, from (0, 0) to (1, 1)."""
        hits, alarms = self._counts(None)
        start = np.zeros(1)
        return (
            np.append(start, alarms[0] / alarms[0, -1]),
            np.append(start, hits[0] / hits[0, -1]),
        )

    def precision_recall(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
        """Return recall and precision at each threshold, from the highest down."""
        hits, alarms = self._counts(None)
        return hits[0] / hits[0, -1], hits[0] / (hits[0] + alarms[0])

    def ranks(self, weights: Int[np.ndarray, "R n"] | None = None) -> Ranks:
        """Return the metrics under each row of weights, or one unweighted row."""
        if weights is None:
            return _ranks(*self._counts(None))
        rows = max(1, _BLOCK // len(self.scores))
        blocks = [
            _ranks(*self._counts(weights[start : start + rows]))
            for start in range(0, len(weights), rows)
        ]
        return Ranks(
            np.concatenate([block.auroc for block in blocks]),
            np.concatenate([block.average_precision for block in blocks]),
            np.concatenate([block.f1_max for block in blocks]),
        )

    def _counts(
        self, weights: Int[np.ndarray, "R n"] | None
    ) -> tuple[Float[np.ndarray, "R d"], Float[np.ndarray, "R d"]]:
        """Count defective and good scores at or above each threshold."""
        labels = self.labels[self._order]
        ranked = np.ones((1, len(labels))) if weights is None else weights[:, self._order]
        hits = np.cumsum(ranked * labels, axis=1, dtype=np.float64)
        flagged = np.cumsum(ranked, axis=1, dtype=np.float64)
        return hits[:, self._ends], (flagged - hits)[:, self._ends]


def _ranks(hits: Float[np.ndarray, "R d"], alarms: Float[np.ndarray, "R d"]) -> Ranks:
    defective, good = hits[:, -1:], alarms[:, -1:]
    rises = np.diff(hits, axis=1, prepend=0)
    widths = np.diff(alarms, axis=1, prepend=0)
    area = np.sum(widths * (hits - rises / 2), axis=1)
    # A threshold that no drawn score reaches adds no rise: dividing by 1 there changes nothing.
    precision = hits / np.maximum(hits + alarms, 1)
    return Ranks(
        area / (defective * good)[:, 0],
        np.sum(rises * precision, axis=1) / defective[:, 0],
        np.max(2 * hits / (hits + alarms + defective), axis=1),
    )


def auroc(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> float | None:
    """Return the area under the ROC curve: how often a defective image scores above a good one."""
    ranking = rank(labels, scores)
    return None if ranking is None else float(ranking.ranks().auroc[0])


def average_precision(
    labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]
) -> float | None:
    """Return the average precision: the mean of the precision at each defective image."""
    ranking = rank(labels, scores)
    return None if ranking is None else float(ranking.ranks().average_precision[0])


def f1_max(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> float | None:
    """Return the highest F1 score over all thresholds."""
    ranking = rank(labels, scores)
    return None if ranking is None else float(ranking.ranks().f1_max[0])


def rank(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> Ranking | None:
    """Return the ranking of scores of any shape, or None if all labels are equal."""
    if not has_both(labels, scores):
        return None
    return Ranking(labels.ravel(), scores.ravel())


def has_both(labels: Shaped[np.ndarray, "*n"], scores: Shaped[np.ndarray, "*m"]) -> bool:
    """Return whether the labels hold both good and defective.

    Raises `ValueError` if the shapes differ, `NonFiniteOutput` for NaN or infinity.
    """
    if labels.shape != scores.shape:
        raise ValueError(f"need one score per label, got {scores.shape} and {labels.shape}")
    check_finite(scores)
    return bool(labels.any()) and not bool(labels.all())


def check_finite(scores: npt.NDArray[np.floating]) -> None:
    """Raise `NonFiniteOutput` for NaN or infinity."""
    bad = scores.size - int(np.count_nonzero(np.isfinite(scores)))
    if bad:
        raise NonFiniteOutput(f"{bad} of {scores.size} scores are NaN or infinite")
