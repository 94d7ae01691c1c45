"""A small network that calls about half of its images OK, and those images.

A result of another part would often have another decision, and always another score.
"""

from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from model import MambaAD, NetworkConfig
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.images.decoding import DecodeLimits, decode
from model.images.preprocess import Preprocessing
from model.runtimes.runtimes import Runtimes
from model.scoring.scores import Scoring

CATEGORY = "noise"
_INPUT = (64, 64)
_SCORED = 40
_SIDE = 24


def noise_image(seed: int) -> bytes:
    """Return a PNG of noise; each seed has another one."""
    noise = np.random.default_rng(seed).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    return content.getvalue()


def write_store(root: Path) -> None:
    """Write the network; its threshold is the median score of some images."""
    torch.manual_seed(0)
    config = NetworkConfig(
        encoder="test_efficientnet", image_size=_INPUT, depths=(2, 2, 2, 2), directions=2,
        state_size=2, scan="sweep",
    )  # fmt: skip
    network = MambaAD(config)
    _save(root / "scored", network, threshold=1.0)
    _save(root / "weights", network, threshold=_median_score(root / "scored"))


def _save(root: Path, network: MambaAD, threshold: float) -> None:
    calibration = Calibration(
        image_threshold=threshold, pixel_threshold=threshold, image_scale=0.03, pixel_scale=0.03,
        alpha=0.01, good_images=150,
    )  # fmt: skip
    CheckpointStore(root).save(
        "parts",
        network,
        Preprocessing(image_size=_INPUT, mean=network.encoder.mean, std=network.encoder.std),
        Scoring(),
        {CATEGORY: calibration},
        training={},
        metrics={},
        license="CC0-1.0",
        notice="Random weights.",
    )


def _median_score(root: Path) -> float:
    _, detector = Runtimes().open(CheckpointStore(root).find("parts", "1"))
    images = [decode(noise_image(seed), DecodeLimits()) for seed in range(_SCORED)]
    pixels = np.concatenate([detector.preprocessing.to_arrays(image) for image in images])
    return median(detector.raw_scores(pixels, [CATEGORY] * _SCORED))
