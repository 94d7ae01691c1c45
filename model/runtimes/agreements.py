"""Measure on held-out images whether OpenVINO's precisions score as torch does in float32."""

import logging
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from model.checkpoints.agreement import PRECISIONS, Agreement, Agreements
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.checkpoints.manifest import Manifest
from model.dataset import Sample, inspection_batches
from model.errors import BackendUnavailable
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Category
from model.runtimes.torch import open_checkpoint

logger = logging.getLogger(__name__)

MOST_IMAGES = 100
"""Most images of a category."""
SMALLEST_PX = 128 * 128
"""Inputs with fewer pixels take torch a few ms: there is nothing to gain."""


def with_agreements(
    store: CheckpointStore, checkpoint: Checkpoint, samples: Sequence[Sample]
) -> Checkpoint:
    """Return the saved checkpoint with the agreements of its calibrated categories in `samples`.

    Returns it as it is without OpenVINO, for a small input, and without images.
    """
    samples = [sample for sample in samples if sample.category in checkpoint.calibrations]
    is_possible = find_spec("openvino") is not None and is_worth_measuring(checkpoint.manifest)
    if not is_possible or not samples:
        return checkpoint
    stored = store.load(checkpoint.name, checkpoint.version)  # a network of its own, on the CPU
    return store.update(checkpoint, agreements=measure(stored, samples))


def is_worth_measuring(manifest: Manifest) -> bool:
    """Return whether an input is so large that another engine could gain something."""
    return math.prod(Preprocessing.from_dict(manifest.preprocessing).image_size) >= SMALLEST_PX


def measure(checkpoint: Checkpoint, samples: Sequence[Sample]) -> Agreements:
    """Return the agreements of the precisions that this processor has."""
    shown = _spread(samples)
    expected = list(_scored(open_checkpoint(checkpoint, backend="cpu"), shown))
    agreements: dict[str, dict[Category, Agreement]] = {}
    for precision in PRECISIONS:
        try:
            actual = list(_scored(_detector(checkpoint, precision), shown))
        except BackendUnavailable as error:
            logger.info("no agreement measured: %s", error)
        else:
            agreements[precision] = _compare(checkpoint, shown, expected, actual)
    return agreements


def _detector(checkpoint: Checkpoint, precision: str) -> Detector:
    from model.runtimes.openvino import in_precision  # noqa: PLC0415 - openvino, which is optional

    return in_precision(checkpoint, precision)


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """Return up to `MOST_IMAGES` evenly spaced images of each category."""
    by_category: dict[Category, list[Sample]] = {}
    for sample in samples:
        by_category.setdefault(sample.category, []).append(sample)
    return [s for of in by_category.values() for s in of[:: -(-len(of) // MOST_IMAGES)]]


def _scored(detector: Detector, samples: Sequence[Sample]) -> Iterator[float]:
    """Yield the raw score of each image. Raises `NonFiniteOutput`."""
    for batch in inspection_batches(samples, detector.preprocessing, batch_size=4):
        maps = detector.image_maps(batch.images, batch.categories, batch.image_sizes)
        for values, category in zip(maps, batch.categories, strict=True):
            yield detector.raw_score(values, category)


def _compare(
    checkpoint: Checkpoint,
    samples: Sequence[Sample],
    expected: Sequence[float],
    actual: Sequence[float],
) -> dict[Category, Agreement]:
    """Return the agreement of each category, from raw scores."""
    agreements = {}
    for category in sorted({sample.category for sample in samples}):
        calibration = checkpoint.calibrations[category]
        pairs = [
            pair for sample, *pair in zip(samples, expected, actual, strict=True)
            if sample.category == category
        ]  # fmt: skip
        agreements[category] = Agreement(
            images=len(pairs),
            difference=max(abs(calibration.score(a) - calibration.score(b)) for a, b in pairs),
            decisions=sum(calibration.decide(a) != calibration.decide(b) for a, b in pairs),
        )
    return agreements
