"""Small checkpoints for many exports, with encoders that are traced once."""

from functools import cache

import numpy as np
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.golden import synthetic_images
from model.images.preprocess import Preprocessing
from model.network import Encoder, MambaAD, NetworkConfig
from model.network.normalise import normalise
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.memory import Memory
from model.scoring.patches import patch_features
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring
from model.scoring.whitening import partial_whitening

SIZE = (64, 64)
SMALL = {
    "encoder": "test_efficientnet", "image_size": SIZE, "scan": "sweep", "directions": 2,
    "depths": (2, 2, 2, 2), "state_size": 2,
}  # fmt: skip


def calibration(threshold, review=None):
    return Calibration(
        image_threshold=threshold, pixel_threshold=2.0, image_scale=0.5, pixel_scale=0.5,
        alpha=0.01, good_images=100, review_threshold=review,
    )  # fmt: skip


CALIBRATIONS = {"bolt": calibration(0.9), "nut": calibration(1.3, review=0.5)}


def vary_statistics(network):
    """Give the batch norms varied statistics, so that wrong folding shows."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)


@cache
def encoder(name):
    torch.manual_seed(1)
    made = Encoder(name)
    vary_statistics(made)
    return made


def images(count=3, size=SIZE):
    return synthetic_images(size, count)


def save(folder, scoring=None, calibrations=CALIBRATIONS, golden=None, resize="stretch", **config):
    config = NetworkConfig(**(SMALL | config))
    frozen = encoder(config.encoder)
    torch.manual_seed(0)
    network = MambaAD(config, frozen).eval()
    vary_statistics(network.fusion)
    preprocessing = Preprocessing(
        image_size=config.image_size,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        resize=resize,
    )
    return CheckpointStore(folder).save(
        "parts", network, preprocessing, scoring or Scoring(), calibrations, training={},
        metrics={}, golden=golden,
        baselines=baselines(network, preprocessing, scoring or Scoring()),
    )  # fmt: skip


def baselines(network, preprocessing, scoring):
    decoder = decoder_baselines(network, preprocessing, scoring)
    if not scoring.memory:
        return decoder
    with torch.inference_mode():
        batch = torch.from_numpy(images(6, preprocessing.image_size))
        teacher = network.encoder(normalise(batch, preprocessing))
        patches = patch_features(teacher)
    candidates = patches.flatten(2).transpose(1, 2).flatten(0, 1).numpy()
    size, sigma = preprocessing.image_size, scoring.sigma
    made = {}
    for number, category in enumerate(CALIBRATIONS):  # memories of different lengths
        some = candidates[number :: len(candidates) // (scoring.memory - 3 * number)]
        memory = Memory(
            some[: scoring.memory],
            partial_whitening(candidates),
            tuple(patches.shape[2:]),
            size,
            sigma,
        )
        scale = np.array([[0.4, 1.2 + number], [0.1, 0.5 + number]], np.float32)
        usual = decoder[category] if scoring.needs_alignment else None
        made[category] = FusedBaseline(usual, memory, scale, scoring.memory_weight)
    return made


def decoder_baselines(network, preprocessing, scoring):
    random, size = np.random.default_rng(0), preprocessing.image_size
    if scoring.distance == "cosine":
        maps = random.uniform(0.1, 1, (2, 4, *size))
        return {name: Baseline.fit([m]) for name, m in zip(CALIBRATIONS, maps, strict=True)}
    unused = scoring.unused_scales
    with torch.inference_mode():
        teacher, student = network(normalise(torch.from_numpy(images(6, size)), preprocessing))
    differences = residuals(
        teacher[unused:], student[unused:], scoring.scale_weights[unused:]
    ).numpy()
    spread = random.uniform(0.5, 2, (2, *differences.shape)).astype(np.float32)
    return {
        name: FeatureBaseline.fit(
            [differences * by],
            network.feature_shapes,
            scoring.scale_weights,
            size,
            scoring.sigma,
        )
        for name, by in zip(CALIBRATIONS, spread, strict=True)
    }
