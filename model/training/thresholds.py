"""Thresholds for a trained network, from good images that it has not learned from."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from model.anomaly import Scoring
from model.baseline import Baseline
from model.calibration import Calibration
from model.dataset import Sample, inspection_batches
from model.detector import Detector
from model.errors import CalibrationError
from model.inspection import Category


def fit_baselines(
    detector: Detector, samples: Sequence[Sample], batch_size: int = 8
) -> dict[Category, Baseline]:
    """Return the baseline of each category's maps over the good `samples`, those trained on."""

    def maps_of(category: Category) -> Iterator[Float32[np.ndarray, "B H W"]]:
        own = [sample for sample in samples if sample.category == category]
        for batch in inspection_batches(own, detector.preprocessing, batch_size):
            yield detector.anomaly_maps(batch.images)

    categories = sorted({sample.category for sample in samples})
    return {category: Baseline.fit(maps_of(category)) for category in categories}


def calibrate(
    detector: Detector,
    scoring: Scoring,
    samples: Sequence[Sample],
    alpha: float,
    *,
    batch_size: int = 8,
    advance: Callable[[int], None] = lambda _images: None,
) -> dict[Category, Calibration]:
    """Return a calibration for each category there are held-out good `samples` of.

    `advance` hears how many images were done. Raises `CalibrationError` without samples or for a
    defective one, `NonFiniteOutput` for a network that answers NaN.
    """
    if not samples:
        raise CalibrationError("no held-out good images to set thresholds from")
    if bad := [sample for sample in samples if not sample.is_good]:
        raise CalibrationError(f"thresholds are set from good images only, got {bad[0].path}")
    scores: defaultdict[Category, list[float]] = defaultdict(list)
    peaks: defaultdict[Category, list[float]] = defaultdict(list)
    for batch in inspection_batches(samples, detector.preprocessing, batch_size):
        maps = detector.image_maps(batch.images, batch.categories, batch.image_sizes)
        for category, values in zip(batch.categories, maps, strict=True):
            counted = detector.areas.counted(values, category)
            scores[category].append(float(scoring.raw_scores(counted[None, None])[0]))
            peaks[category].append(float(counted.max()))
        advance(len(batch.samples))
    return {c: Calibration.fit(scores[c], peaks[c], alpha) for c in sorted(scores)}
