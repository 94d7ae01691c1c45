"""The parity gate: an export is written only if its scores equal the checkpoint's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from model.checkpoints import golden
from model.checkpoints.checkpoint import Checkpoint
from model.errors import ParityError
from model.inspection import Category
from model.runtimes.torch import open_checkpoint

SCORE_TOLERANCE = 1e-3
"""Largest difference of a score, 0 to 1, from PyTorch's."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest difference of a score from PyTorch's; `kind` is the number and kind of images."""

    kind: str
    difference: float

    def __str__(self) -> str:
        """Return a sentence for people."""
        return f"scores differ from PyTorch's by at most {self.difference:.1e} on {self.kind}"


Pictures: TypeAlias = Mapping[Category, UInt8[np.ndarray, "n 3 H W"]]
Scores: TypeAlias = Mapping[Category, Float32[np.ndarray, " n"]]
Runner: TypeAlias = Callable[[str, UInt8[np.ndarray, "n 3 H W"], Category], np.ndarray]
"""Computes the named output for images of one category."""


def check(run: Runner, checkpoint: Checkpoint) -> Parity:
    """Compare an exported model with the golden images' scores, and with PyTorch on this machine.

    Without golden images, uses synthetic ones. Takes over the checkpoint's network, like a
    detector. Raises `ParityError`.
    """
    golden.check(
        checkpoint.golden,
        lambda images, categories: run("raw_score", images, categories[0]).tolist(),
    )
    pictures = images_to_compare(checkpoint)
    worst = difference(run, pictures, torch_scores(checkpoint, pictures))
    if not worst <= SCORE_TOLERANCE:
        raise ParityError(
            f"the exported model's scores differ from PyTorch's by {worst:.4g}, more than the "
            f"tolerance of {SCORE_TOLERANCE:g}: the file is not written"
        )
    count = sum(map(len, pictures.values()))
    return Parity(f"{count} {'golden' if checkpoint.golden else 'synthetic'} images", worst)


def difference(run: Runner, pictures: Pictures, expected: Scores) -> float:
    """Return the largest difference of a score, 0 to 1."""
    return max(
        float(np.abs(run("score", images, category) - expected[category]).max())
        for category, images in pictures.items()
    )


def images_to_compare(checkpoint: Checkpoint) -> Pictures:
    """Return the golden images of each calibrated category, or synthetic ones."""
    synthetic = golden.synthetic_images(checkpoint.config.image_size, 2)
    return {
        category: checkpoint.golden[category].images if category in checkpoint.golden else synthetic
        for category in checkpoint.manifest.categories
    }


def torch_scores(checkpoint: Checkpoint, pictures: Pictures) -> Scores:
    """Return PyTorch's calibrated scores of these images."""
    detector = open_checkpoint(checkpoint)
    scores = {}
    for category, images in pictures.items():
        raw = detector.raw_scores(images, [category] * len(images))
        calibrated = [checkpoint.calibrations[category].score(score) for score in raw]
        scores[category] = np.array(calibrated, np.float32)
    return scores
