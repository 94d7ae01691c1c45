"""What a self-check found in one category: rates at the threshold, and who is ahead.

Each method has its own threshold: the network the calibrated one, a baseline the conformal quantile
of its scores of the same good parts, at the same alpha. A defect is found if its score is above.

Image AUROC compares the parts with a drawn defect with the parts as they are; it needs no
threshold. Intervals of differences are paired: each resampling draws parts, with all that was drawn
into them, and the same ones for all methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from model.calibration.calibration import Calibration
from model.calibration.conformal import conformal_quantile
from model.metrics import Ranking
from model.metrics.resampling import RESAMPLINGS, draw, interval
from model.synthetic import Kind, Strength
from model.training.advice.methods import NETWORK
from model.training.advice.promises import RATES
from model.training.advice.rates import FoundRate
from model.training.advice.scores import Scores

LEAST_PARTS = 5
"""With fewer parts, resampling them tells nothing, and there are no intervals of differences."""


@dataclass(frozen=True, slots=True)
class MethodFindings:
    """One method's threshold in its own units, the defects above it, and its image AUROC."""

    threshold: float
    found: FoundRate
    image_auroc: float

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        return {
            "threshold": self.threshold,
            "image_auroc": self.image_auroc,
            **self.found.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Lead:
    """A baseline's image AUROC minus the network's; above 0, the baseline is ahead."""

    image_auroc: float
    interval: tuple[float, float] | None

    @property
    def is_clear(self) -> bool:
        """Whether the baseline is ahead by more than chance."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def is_clearly_behind(self) -> bool:
        """Whether the network is ahead by more than chance."""
        return self.interval is not None and self.interval[1] < 0

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        pair = None if self.interval is None else list(self.interval)
        return {"image_auroc": self.image_auroc, "interval": pair}


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings in one category; kinds and strengths are the network's.

    `parts` were scored, and defects drawn into `drawn_parts` of them. `at_rates` has other values
    of alpha, whose thresholds these parts allow and which are below the one in force.
    """

    parts: int
    drawn_parts: int
    trained_on: int
    fitted_on: int
    methods: Mapping[str, MethodFindings]
    kinds: Mapping[str, FoundRate]
    strengths: Mapping[str, FoundRate]
    leads: Mapping[str, Lead]
    at_rates: Mapping[float, FoundRate]
    undrawable: tuple[str, ...] = ()

    @property
    def network(self) -> MethodFindings:
        """The trained network's findings."""
        return self.methods[NETWORK]

    @property
    def best_rival(self) -> str | None:
        """The baseline with the highest image AUROC, if any was fitted."""
        rivals = [name for name in self.methods if name != NETWORK]
        return max(rivals, key=lambda name: self.methods[name].image_auroc, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "parts": self.parts,
            "drawn_parts": self.drawn_parts,
            "trained_on": self.trained_on,
            "fitted_on": self.fitted_on,
            "methods": {name: method.to_dict() for name, method in self.methods.items()},
            "kinds": {name: rate.to_dict() for name, rate in self.kinds.items()},
            "strengths": {name: rate.to_dict() for name, rate in self.strengths.items()},
            "leads": {name: lead.to_dict() for name, lead in self.leads.items()},
            "at_rates": {str(alpha): rate.to_dict() for alpha, rate in self.at_rates.items()},
            "undrawable": list(self.undrawable),
        }


def find(scores: Scores, calibration: Calibration) -> Findings | None:
    """Return what the scores tell at the thresholds; None if nothing could be drawn."""
    if not scores.drawn:
        return None
    raw = {name: np.array([d.scores[name] for d in scores.drawn]) for name in scores.methods}
    thresholds = {
        name: lowest_rejected(calibration)
        if name == NETWORK
        else conformal_quantile(scores.good[name], calibration.alpha)
        for name in scores.methods
    }
    found = {name: raw[name] > thresholds[name] for name in scores.methods}
    aurocs, leads = _compare(scores, raw)
    ours = found[NETWORK]
    kinds = np.array([d.kind for d in scores.drawn])
    strengths = np.array([d.strength for d in scores.drawn])
    return Findings(
        parts=len(scores.good[NETWORK]),
        drawn_parts=len({d.part for d in scores.drawn}),
        trained_on=scores.trained_on,
        fitted_on=scores.fitted_on,
        methods={
            name: MethodFindings(thresholds[name], FoundRate.of(found[name]), aurocs[name])
            for name in scores.methods
        },
        kinds={k.value: FoundRate.of(ours[kinds == k]) for k in Kind if (kinds == k).any()},
        strengths={s.value: FoundRate.of(ours[strengths == s]) for s in Strength},
        leads=leads,
        at_rates=_at_rates(scores, raw[NETWORK], calibration),
        undrawable=scores.undrawable,
    )


def lowest_rejected(calibration: Calibration) -> float:
    """Return the score above which a part is not OK: NG, or REVIEW if there is such a band."""
    review = calibration.review_threshold
    return calibration.image_threshold if review is None else review


def _at_rates(
    scores: Scores, raw: Float[np.ndarray, " n"], calibration: Calibration
) -> dict[float, FoundRate]:
    """Return the rates at larger values of alpha, where the threshold would be lower."""
    rates = {}
    for alpha in RATES:
        threshold = conformal_quantile(scores.good[NETWORK], alpha)
        if alpha > calibration.alpha and threshold < lowest_rejected(calibration):
            rates[alpha] = FoundRate.of(raw > threshold)
    return rates


def _compare(
    scores: Scores, raw: Mapping[str, Float[np.ndarray, " n"]]
) -> tuple[dict[str, float], dict[str, Lead]]:
    """Return every method's image AUROC, and the baselines' leads over the network."""
    parts = len(scores.good[NETWORK])
    of_drawn = np.array([drawn.part for drawn in scores.drawn])
    defective = np.concatenate([np.zeros(parts, bool), np.ones(len(of_drawn), bool)])
    rankings = {
        name: Ranking(defective, np.concatenate([scores.good[name], raw[name]]))
        for name in scores.methods
    }
    aurocs = {name: float(ranking.ranks().auroc[0]) for name, ranking in rankings.items()}
    replicates = {}
    if parts >= LEAST_PARTS:
        weights = _weights(parts, of_drawn)
        replicates = {name: ranking.ranks(weights).auroc for name, ranking in rankings.items()}
    leads = {
        name: Lead(
            aurocs[name] - aurocs[NETWORK],
            interval(replicates[name] - replicates[NETWORK]) if replicates else None,
        )
        for name in scores.methods
        if name != NETWORK
    }
    return aurocs, leads


def _weights(parts: int, of_drawn: np.ndarray) -> np.ndarray:
    """Return how often each part, and each defect in it, is drawn in each resampling.

    Parts with and without a drawn defect are resampled apart, so that each resampling has both.
    """
    has_defects: Bool[np.ndarray, " parts"] = np.isin(np.arange(parts), of_drawn)
    of_parts = draw(has_defects, RESAMPLINGS, seed=0)
    return np.concatenate([of_parts, of_parts[:, of_drawn]], axis=1)
