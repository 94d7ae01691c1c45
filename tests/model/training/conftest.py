"""Images for the trainer's tests, and trainers with slightly different recipes."""

from dataclasses import replace

import pytest
import torch

from model.network import MambaAD
from model.training import Trainer, read_training_data
from tests.tiny import CONFIG, PREPROCESSING, TINY, Recorder, write_images


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    write_images(root / "bolt" / "train" / "good", 8)
    write_images(root / "bolt" / "held_out" / "good", 3, seed=1)
    return root


@pytest.fixture(scope="session")
def data(root):
    return read_training_data(root, ["bolt"], None, 0.2, 0)


@pytest.fixture(scope="session")
def trainer_of(data):
    def build(network_seed=0, images=data, group=None, watch_best=False, **changes):
        torch.manual_seed(network_seed)
        network = MambaAD(TINY)
        config = replace(CONFIG, **changes)
        return Trainer(
            config, network, PREPROCESSING, images, torch.device("cpu"), group, watch_best
        )

    return build


@pytest.fixture
def recorder():
    return Recorder()
