"""A tiny network, its recipe, and noise to train it on."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from model.images.preprocess import Preprocessing
from model.network import Encoder, NetworkConfig
from model.training import Recipe, TrainingConfig
from model.training.progress.monitor import Monitor

TINY = NetworkConfig(
    encoder="test_efficientnet",
    image_size=(64, 64),
    directions=2,
    depths=(2, 2, 2, 2),
    state_size=2,
)
PREPROCESSING = Preprocessing(image_size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=1e-3, loss="cosine", seed=7)


def encoder_weights(folder):
    """Write the same weights each time; return the file."""
    path = Path(folder) / "encoder.safetensors"
    if not path.exists():
        torch.manual_seed(20)
        half = path.with_suffix(f".{os.getpid()}")
        state = Encoder(TINY.encoder).net.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, half)
        half.rename(path)
    return path


def options(folder):
    return [
        "--recipe", "paper-lite", "--image-size", "64", "--directions", "2",
        "--depths", "2,2,2,2", "--state-size", "2",
        "--encoder", TINY.encoder, "--encoder-weights", str(encoder_weights(folder)),
    ]  # fmt: skip


def recipe(folder, config=CONFIG, **sections):
    """`folder` gets the encoder's weights."""
    weights = {"encoder_weights": str(encoder_weights(folder))}
    return Recipe(network=TINY, training=config, **{**weights, **sections})


def write_images(folder, count, seed=0):
    folder.mkdir(parents=True)
    for number in range(count):
        values = np.random.default_rng((seed, number)).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{number:03}.png")


class Recorder(Monitor):
    def __init__(self):
        self.losses, self.records, self.outcomes = [], [], []

    def step(self, place, loss):
        self.losses.append(loss)

    def epoch(self, record):
        self.records.append(record)

    def end(self, outcome):
        self.outcomes.append(outcome)


def always():
    return True


def after(count):
    """A go_on that stops after `count` steps."""
    left = iter(range(count - 1))
    return lambda: next(left, None) is not None


def final_state(trainer):
    with trainer.final_weights() as network:
        return {key: value.clone() for key, value in network.trained_state().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)
