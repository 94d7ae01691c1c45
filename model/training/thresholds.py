"""Set a trained network's thresholds with held-out good images."""

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
from model.scoring.gaussians import Shape
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring
from model.training.memories import Axes, fit_memory


def fit_baselines(
    detector: Detector,
    samples: Sequence[Sample],
    shapes: Sequence[Shape],
    batch_size: int = 8,
    say: Callable[[str], None] = lambda _text: None,
    mirrors: Sequence[Axes] = (),
) -> dict[Category, AnyBaseline]:
    """Return each category's baseline for the scoring, from the good `samples`.

    These are the training images, see `model.scoring.map_baseline`. `shapes` are
    `MambaAD.feature_shapes`; `say` is called with each stage of fitting a memory, which
    has the images mirrored in each of `mirrors`, too.
    """
    scoring, size = detector.scoring, detector.preprocessing.image_size

    def of(category: Category) -> list[Sample]:
        return [sample for sample in samples if sample.category == category]

    def compared(category: Category) -> Iterator[Float32[np.ndarray, "B *what"]]:
        for batch in inspection_batches(of(category), detector.preprocessing, batch_size):
            yield detector.compare(batch.images)

    def fitted(category: Category) -> AnyBaseline:
        if scoring.memory:
            return fit_memory(detector, of(category), shapes, say, mirrors)
        if scoring.measures_differences:
            made = (scoring.scale_weights, size, scoring.sigma)
            return FeatureBaseline.fit(compared(category), shapes, *made)
        return Baseline.fit(compared(category))

    return {name: fitted(name) for name in sorted({sample.category for sample in samples})}


@dataclass(slots=True)
class Shown:
    """The raw score and the highest map value of each image of one category."""

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
    """Return the values of good or defective images by category; needs no thresholds.

    Calls `advance` with the number of images of each batch. Raises `NonFiniteOutput` for a network
    that returns NaN.
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
    """Return a calibration for each category of the held-out good `samples`.

    `alpha` is one rate for all categories or a rate per category. With a `goal`, `defects` of every
    category also determine the thresholds. `check` is called with the good images' values before
    fitting, `advance` with the number of images of each batch. Raises `CalibrationError` without
    samples or for a defective one among them, `NonFiniteOutput` for a network that returns NaN.
    """
    if not samples:
        raise CalibrationError("no held-out good images for calibration: expected at least one")
    if bad := [sample for sample in samples if not sample.is_good]:
        raise CalibrationError(
            f"calibration needs good images only, got the defective {bad[0].path}"
        )
    shown = show(detector, scoring, samples, batch_size=batch_size, advance=advance)
    check(shown)
    rates = alpha if isinstance(alpha, Mapping) else dict.fromkeys(shown, alpha)
    fitted = {
        category: Calibration.fit(good.raw_scores, good.pixel_peaks, rates[category], review_alpha)
        for category, good in shown.items()
    }
    if goal is None:
        return fitted
    bad_shown = show(detector, scoring, defects, batch_size=batch_size, advance=advance)
    if without := sorted(set(fitted) - set(bad_shown)):
        raise CalibrationError(f"no defective examples of {', '.join(without)}")
    return {
        category: calibration.for_goal(
            goal, shown[category].raw_scores, bad_shown[category].raw_scores
        )
        for category, calibration in fitted.items()
    }
