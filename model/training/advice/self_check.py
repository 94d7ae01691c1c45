"""The self-check: a trained network and baselines on good parts with drawn defects.

It changes nothing: no weight, no threshold, no ratio depends on a drawn defect.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.calibration.calibration import Calibration
from model.dataset import Sample
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD
from model.rivals import Features
from model.training.advice.findings import Findings, find
from model.training.advice.fitting import MOST_IMAGES, fit_in_time, spaced
from model.training.advice.methods import Advance, Method, Network
from model.training.advice.observing import DEFECTS_PER_ROUND, MOST_PARTS, ROUNDS, Observation
from model.training.advice.pictures import PartPictures
from model.training.advice.scores import Scores
from model.training.advice.time_limit import TimeLimit, allowed_s
from model.training.expectation import CheckTime, Speed, Work

_FOR_BASELINES = 0.4
"""The share of a category's time for fitting the baselines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """The parts to draw into, the training images, and the time.

    `parts` are good images that the network was not trained on, `train` those that it was trained
    on. `stop` ends the check with `CheckStopped`.
    """

    parts: Sequence[Sample]
    train: Sequence[Sample]
    seconds: float
    rounds: int
    seed: int = 0
    stop: Callable[[], bool] = lambda: False
    advance: Advance = lambda _images: None

    @property
    def categories(self) -> list[Category]:
        """The categories of the parts, in order of name."""
        return sorted({sample.category for sample in self.parts})

    @property
    def defects(self) -> int:
        """The number of defects to draw, if all kinds can be drawn and there is time."""
        return self.rounds * DEFECTS_PER_ROUND * len(self.categories)

    @property
    def steps(self) -> int:
        """The sum of all calls of `advance`, if there is time."""
        images = sum(
            min(MOST_PARTS, len(_of(self.parts, category)))
            + min(MOST_IMAGES, len(_of(self.train, category)))
            for category in self.categories
        )
        return images + self.defects


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """The findings by category; `folds` is the number of folds if no part was held out."""

    seed: int
    findings: Mapping[Category, Findings]
    folds: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, for the manifest."""
        return {
            "seed": self.seed,
            **({} if self.folds is None else {"folds": self.folds}),
            "categories": {name: found.to_dict() for name, found in self.findings.items()},
        }


def check_time(folds: int) -> CheckTime:
    """Return the function that estimates the seconds of the self-check after a training.

    All methods encode each input for themselves, but PaDiM and PatchCore, which share one pass.
    """

    def expected_s(speed: Speed, work: Work, training_s: float) -> float:
        networks = max(1, folds)
        parts = round(work.trained * folds / (folds - 1)) if folds else work.held_out
        drawn = networks * math.ceil(ROUNDS / networks) * DEFECTS_PER_ROUND * work.categories
        fitting_s = networks * work.trained * (speed.decode_s + speed.encode_s)
        scoring_s = (parts + drawn) * (speed.inspect_s + speed.encode_s)
        return min(allowed_s(training_s), fitting_s + scoring_s)

    return expected_s


def score_parts(
    network: MambaAD, detector: Detector, request: CheckRequest
) -> dict[Category, Scores]:
    """Return the scores of each category's parts, with and without drawn defects.

    `detector` computes `network`; it needs no thresholds. Raises `CheckStopped`, `ImageError` for
    an unusable file, `NonFiniteOutput` for a network that returns NaN.
    """
    limit = TimeLimit(request.seconds)
    features = Features(network.encoder, detector.preprocessing, detector.engine.device)
    scores = {}
    for number, category in enumerate(request.categories):
        share = limit.share(1 / (len(request.categories) - number))
        scores[category] = _score_category(features, detector, category, request, share)
    return scores


def conclude(
    scores: Mapping[Category, Scores],
    calibrations: Mapping[Category, Calibration],
    seed: int,
    folds: int | None = None,
) -> SelfCheck:
    """Return the findings at the calibrated thresholds."""
    found = {category: find(scores[category], calibrations[category]) for category in scores}
    findings = {category: one for category, one in found.items() if one is not None}
    return SelfCheck(seed=seed, findings=findings, folds=folds)


def _score_category(
    features: Features,
    detector: Detector,
    category: Category,
    request: CheckRequest,
    limit: TimeLimit,
) -> Scores:
    train = _of(request.train, category)
    baselines, fitted_on = fit_in_time(
        features, train, request.seed, limit.share(_FOR_BASELINES), request.advance
    )
    methods: list[Method] = [Network(detector, category)]
    if baselines is not None:
        methods.append(baselines)
    parts = spaced(_of(request.parts, category), MOST_PARTS)
    observation = Observation(
        detector=detector,
        category=category,
        methods=methods,
        pictures=PartPictures(parts, detector.preprocessing, detector.areas),
        seed=request.seed,
        stop=request.stop,
        advance=request.advance,
    )
    return observation.observe(limit, request.rounds, len(train), fitted_on)


def _of(samples: Sequence[Sample], category: Category) -> list[Sample]:
    return [sample for sample in samples if sample.category == category]
