"""List the images in training and calibration for the checkpoint."""

from collections.abc import Sequence

from model.checkpoints.seen import CalibrationImages, SeenImages
from model.dataset import Sample
from model.dataset.fingerprints import by_category
from model.training.data import TrainingData


def seen_in_training(data: TrainingData) -> SeenImages:
    """Return the list of training, held-out and watched images."""
    return SeenImages(
        {
            "train": by_category(data.train),
            "held_out": by_category(data.held_out),
            "watch": by_category(data.watch),
        }
    )


def seen_in_calibration(good: Sequence[Sample], defective: Sequence[Sample]) -> CalibrationImages:
    """Return the list of calibration images."""
    return CalibrationImages.model_validate(
        {"good": by_category(good), "defective": by_category(defective)}
    )
