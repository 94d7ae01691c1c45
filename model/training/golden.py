"""Record golden images for a trained network from held-out good images."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.checkpoints.golden import SYNTHETIC, GoldenImages, record, synthetic_images
from model.checkpoints.seen import SeenImages, read_seen
from model.dataset import ImageDataset, Sample
from model.inference.detector import Detector
from model.inspection import Category

IMAGES = 4
"""Golden images per category: enough to verify a device, small enough for git."""


def record_golden(
    detector: Detector,
    samples: Sequence[Sample],
    calibrations: Mapping[Category, Calibration],
) -> dict[Category, GoldenImages]:
    """Return a few evenly spaced good images of each category with their current scores.

    Without samples, the images are synthetic and without a category; scoring with baselines cannot
    score these, so the result is then empty.
    """
    if not samples:
        if detector.scoring.uses_baselines:
            return {}
        images = synthetic_images(detector.preprocessing.image_size)
        return {SYNTHETIC: record(images, SYNTHETIC, detector.raw_scores, None)}
    golden = {}
    for category in sorted({sample.category for sample in samples}):
        images = _images([s for s in samples if s.category == category], detector)
        calibration = calibrations.get(category)
        scale = calibration.image_scale if calibration else None
        golden[category] = record(images, category, detector.raw_scores, scale)
    return golden


def save_with_golden(
    store: CheckpointStore, checkpoint: Checkpoint, golden: Mapping[Category, GoldenImages]
) -> Checkpoint:
    """Save the checkpoint as its next version, with additional golden images."""
    manifest = checkpoint.manifest
    seen = read_seen(store.find(checkpoint.name, checkpoint.version), manifest)
    if seen:  # the old version's current calibration is the new version's first
        seen = SeenImages(seen.learned, {1: seen.in_force(manifest.calibration_version)})
    return store.save(
        checkpoint.name,
        checkpoint.network,
        checkpoint.preprocessing,
        checkpoint.scoring,
        checkpoint.calibrations,
        training=manifest.training,
        metrics=manifest.metrics,
        license=manifest.license,
        notice=manifest.notice,
        baselines=checkpoint.baselines,
        areas=checkpoint.manifest.areas,
        golden={**checkpoint.golden, **golden},
        seen=seen,
    )


def _images(samples: Sequence[Sample], detector: Detector) -> UInt8[np.ndarray, "n 3 H W"]:
    step = -(-len(samples) // IMAGES)
    dataset = ImageDataset(samples[::step], detector.preprocessing)
    return np.stack([dataset[index][0].numpy() for index in range(len(dataset))])
