"""The parity gate: what is exported scores as what it was exported from, or is not written."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float32, UInt8

from model import golden
from model.checkpoint import Checkpoint
from model.detector import Detector
from model.errors import ParityError
from model.inspection import Category

SCORE_TOLERANCE = 1e-3
"""What a score, 0 to 1, may differ by from PyTorch's."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported model was found from PyTorch: on how many images, and of what kind."""

    images: int
    kind: str
    difference: float

    def __str__(self) -> str:
        """Say it in a line."""
        return f"scores differ from PyTorch's by at most {self.difference:.1e} on {self.kind}"


class Session:
    """An exported model in onnxruntime, spoken to in categories."""

    def __init__(self, model: onnx.ModelProto, categories: tuple[Category, ...]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._categories = categories
        self._floating = "float" in self._session.get_inputs()[0].type

    def run(
        self, name: str, images: UInt8[np.ndarray, "B 3 H W"], category: Category
    ) -> np.ndarray:
        """Return one of the outputs; a category that is none is asked for as the first."""
        place = self._categories.index(category) if category in self._categories else 0
        pixels = images.astype(np.float32) / 255 if self._floating else images
        feeds = {"image": pixels, "category": np.full(len(images), place, np.int64)}
        output: np.ndarray = self._session.run([name], feeds)[0]
        return output


def check(model: onnx.ModelProto, checkpoint: Checkpoint) -> Parity:
    """Hold `model` against the golden images' scores, and against PyTorch here and now.

    A checkpoint without golden images is compared on synthetic ones. Takes the checkpoint's network
    over, as a detector does. Raises `ParityError`.
    """
    session = Session(model, checkpoint.manifest.categories)
    golden.check(
        checkpoint.golden,
        lambda images, categories: session.run("raw_score", images, categories[0]).tolist(),
    )
    pictures = images_to_compare(checkpoint)
    worst = max(
        float(np.abs(session.run("score", images, category) - wanted).max())
        for (category, images), wanted in zip(
            pictures.items(), torch_scores(checkpoint, pictures), strict=True
        )
    )
    if not worst <= SCORE_TOLERANCE:
        raise ParityError(
            f"the exported model's scores differ from PyTorch's by {worst:.4g}, and "
            f"{SCORE_TOLERANCE:g} is tolerated: it is not written"
        )
    count = sum(map(len, pictures.values()))
    kind = "golden" if checkpoint.golden else "synthetic"
    return Parity(count, f"{count} {kind} images", worst)


def images_to_compare(checkpoint: Checkpoint) -> dict[Category, UInt8[np.ndarray, "n 3 H W"]]:
    """Return the golden images of each calibrated category, or synthetic ones in their place."""
    synthetic = golden.synthetic_images(checkpoint.config.image_size, 2)
    return {
        category: checkpoint.golden[category].images if category in checkpoint.golden else synthetic
        for category in checkpoint.manifest.categories
    }


def torch_scores(
    checkpoint: Checkpoint, pictures: Mapping[Category, UInt8[np.ndarray, "n 3 H W"]]
) -> list[Float32[np.ndarray, " n"]]:
    """Return the calibrated scores that PyTorch gives these images."""
    detector = Detector.from_checkpoint(checkpoint)
    return [
        np.array(
            [
                checkpoint.calibrations[category].score(raw)
                for raw in detector.raw_scores(images, [category] * len(images))
            ],
            np.float32,
        )
        for category, images in pictures.items()
    ]
