"""Thresholds for a trained network, from good images that it has not learned from."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from model.anomaly import Scoring
from model.baseline import Baseline
from model.calibration import Calibration
from model.dataset import ImageDataset, Sample
from model.detector import Detector
from model.errors import CalibrationError
from model.inspection import Category


def fit_baselines(
    detector: Detector, samples: Sequence[Sample], batch_size: int = 8
) -> dict[Category, Baseline]:
    """Return the baseline of each category's maps over the good `samples`, those trained on."""

    def maps_of(category: Category) -> Iterator[Float32[np.ndarray, "B H W"]]:
        own = [sample for sample in samples if sample.category == category]
        images = ImageDataset(own, detector.preprocessing)
        for start in range(0, len(own), batch_size):
            group = range(start, min(start + batch_size, len(own)))
            yield detector.anomaly_maps(np.stack([images[i][0].numpy() for i in group]))

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
    images = ImageDataset(samples, detector.preprocessing)
    scores: defaultdict[Category, list[float]] = defaultdict(list)
    peaks: defaultdict[Category, list[float]] = defaultdict(list)
    for start in range(0, len(images), batch_size):
        group = samples[start : start + batch_size]
        batch = np.stack([images[start + offset][0].numpy() for offset in range(len(group))])
        maps = detector.anomaly_maps(batch, [sample.category for sample in group])
        raw_scores = scoring.raw_scores(maps)
        for sample, raw, values in zip(group, raw_scores, maps, strict=True):
            scores[sample.category].append(float(raw))
            peaks[sample.category].append(float(values.max()))
        advance(len(group))
    return {c: Calibration.fit(scores[c], peaks[c], alpha) for c in sorted(scores)}
