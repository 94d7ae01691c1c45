"""Thresholds for a trained network, from good images that it has not learned from."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from model.calibration.calibration import Calibration
from model.calibration.operating_point import Goal
from model.dataset import Sample, inspection_batches
from model.errors import CalibrationError
from model.inference.detector import Detector
from model.inspection import Category
from model.scoring.baselines import AnyBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline, Shape
from model.scoring.scores import Scoring


def fit_baselines(
    detector: Detector, samples: Sequence[Sample], shapes: Sequence[Shape], batch_size: int = 8
) -> dict[Category, AnyBaseline]:
    """Return each category's baseline, as the scoring needs it, over the good `samples`.

    Those are the ones trained on: see `model.scoring.map_baseline`. `shapes` are
    `MambaAD.feature_shapes`.
    """
    scoring, size = detector.scoring, detector.preprocessing.image_size

    def compared(category: Category) -> Iterator[Float32[np.ndarray, "B *what"]]:
        own = [sample for sample in samples if sample.category == category]
        for batch in inspection_batches(own, detector.preprocessing, batch_size):
            yield detector.compare(batch.images)

    def fitted(category: Category) -> AnyBaseline:
        if scoring.measures_differences:
            made = (scoring.scale_weights, size, scoring.sigma)
            return FeatureBaseline.fit(compared(category), shapes, *made)
        return Baseline.fit(compared(category))

    return {name: fitted(name) for name in sorted({sample.category for sample in samples})}


@dataclass(slots=True)
class Shown:
    """What images of one category showed: a raw score and the highest map value of each."""

    raw_scores: list[float] = field(default_factory=list)
    pixel_peaks: list[float] = field(default_factory=list)


def show(
    detector: Detector,
    scoring: Scoring,
    samples: Sequence[Sample],
    *,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda _images: None,
) -> dict[Category, Shown]:
    """Return what the images of each category show, good or defective, without any threshold.

    `advance` hears how many images were done. Raises `NonFiniteOutput` for a network that answers
    NaN.
    """
    shown: defaultdict[Category, Shown] = defaultdict(Shown)
    for batch in inspection_batches(samples, detector.preprocessing, batch_size):
        maps = detector.image_maps(batch.images, batch.categories, batch.image_sizes)
        for category, values in zip(batch.categories, maps, strict=True):
            counted = detector.areas.counted(values, category)
            shown[category].raw_scores.append(float(scoring.raw_scores(counted[None, None])[0]))
            shown[category].pixel_peaks.append(float(counted.max()))
        advance(len(batch.samples))
    return dict(sorted(shown.items()))


def calibrate(
    detector: Detector,
    scoring: Scoring,
    samples: Sequence[Sample],
    alpha: float | Mapping[Category, float],
    *,
    review_alpha: float | None = None,
    defects: Sequence[Sample] = (),
    goal: Goal | None = None,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda _images: None,
    check: Callable[[Mapping[Category, Shown]], None] = lambda _shown: None,
) -> dict[Category, Calibration]:
    """Return a calibration for each category there are held-out good `samples` of.

    `alpha` is one for all, or each category's own. With a `goal`, the thresholds of every category
    that has `defects` are chosen by them, too. `check` is given what the good images show before
    anything is fitted. `advance` hears how many images were done. Raises `CalibrationError` without
    samples or for a defective one among them, `NonFiniteOutput` for a network that answers NaN.
    """
    if not samples:
        raise CalibrationError("no held-out good images to set thresholds from")
    if bad := [sample for sample in samples if not sample.is_good]:
        raise CalibrationError(f"thresholds are set from good images only, got {bad[0].path}")
    found = show(detector, scoring, samples, batch_size=batch_size, advance=advance)
    check(found)
    rates = alpha if isinstance(alpha, Mapping) else dict.fromkeys(found, alpha)
    fitted = {
        category: Calibration.fit(own.raw_scores, own.pixel_peaks, rates[category], review_alpha)
        for category, own in found.items()
    }
    if goal is None:
        return fitted
    bad_shown = show(detector, scoring, defects, batch_size=batch_size, advance=advance)
    if without := sorted(set(fitted) - set(bad_shown)):
        raise CalibrationError(f"no defective examples of {', '.join(without)}")
    return {
        category: calibration.for_goal(
            goal, found[category].raw_scores, bad_shown[category].raw_scores
        )
        for category, calibration in fitted.items()
    }
