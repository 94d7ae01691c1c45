"""The parity gate: what is exported scores as what it was exported from, or is not written."""

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
"""What a score, 0 to 1, may differ by from PyTorch's."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported model was found from PyTorch: on how many images, and of what kind."""

    kind: str
    difference: float

    def __str__(self) -> str:
        """Say it in a line."""
        return f"scores differ from PyTorch's by at most {self.difference:.1e} on {self.kind}"


Pictures: TypeAlias = Mapping[Category, UInt8[np.ndarray, "n 3 H W"]]
Scores: TypeAlias = Mapping[Category, Float32[np.ndarray, " n"]]
Runner: TypeAlias = Callable[[str, UInt8[np.ndarray, "n 3 H W"], Category], np.ndarray]
"""Computes the named output for images of one category."""


def check(run: Runner, checkpoint: Checkpoint) -> Parity:
    """Hold an exported model against the golden images' scores, and PyTorch here and now.

    A checkpoint without golden images is compared on synthetic ones. Takes the checkpoint's network
    over, as a detector does. Raises `ParityError`.
    """
    golden.check(
        checkpoint.golden,
        lambda images, categories: run("raw_score", images, categories[0]).tolist(),
    )
    pictures = images_to_compare(checkpoint)
    worst = difference(run, pictures, torch_scores(checkpoint, pictures))
    if not worst <= SCORE_TOLERANCE:
        raise ParityError(
            f"the exported model's scores differ from PyTorch's by {worst:.4g}, and "
            f"{SCORE_TOLERANCE:g} is tolerated: it is not written"
        )
    count = sum(map(len, pictures.values()))
    return Parity(f"{count} {'golden' if checkpoint.golden else 'synthetic'} images", worst)


def difference(run: Runner, pictures: Pictures, wanted: Scores) -> float:
    """Return the largest difference of a score, 0 to 1."""
    return max(
        float(np.abs(run("score", images, category) - wanted[category]).max())
        for category, images in pictures.items()
    )


def images_to_compare(checkpoint: Checkpoint) -> Pictures:
    """Return the golden images of each calibrated category, or synthetic ones in their place."""
    synthetic = golden.synthetic_images(checkpoint.config.image_size, 2)
    return {
        category: checkpoint.golden[category].images if category in checkpoint.golden else synthetic
        for category in checkpoint.manifest.categories
    }


def torch_scores(checkpoint: Checkpoint, pictures: Pictures) -> Scores:
    """Return the calibrated scores that PyTorch gives these images."""
    detector = open_checkpoint(checkpoint)
    scores = {}
    for category, images in pictures.items():
        raw = detector.raw_scores(images, [category] * len(images))
        calibrated = [checkpoint.calibrations[category].score(score) for score in raw]
        scores[category] = np.array(calibrated, np.float32)
    return scores
