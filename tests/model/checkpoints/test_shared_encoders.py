"""Checkpoints with the same frozen encoder share one instance of it."""

import gc

import pytest
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.shared_encoders import SharedEncoders
from model.errors import CheckpointError
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="test_efficientnet", image_size=(64, 64), depths=(2, 2, 2, 2), directions=2,
    state_size=2,
)  # fmt: skip
NORMAL = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)


def save(store, name, network):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    store.save(name, network, preprocessing, Scoring(), {name: NORMAL}, training={}, metrics={})


@pytest.fixture
def store(tmp_path):
    """Checkpoints a and b with one encoder, c with another of the same kind."""
    store = CheckpointStore(tmp_path)
    torch.manual_seed(0)
    network = MambaAD(CONFIG)
    save(store, "a", network)
    save(store, "b", MambaAD(CONFIG, network.encoder))
    save(store, "c", MambaAD(CONFIG))
    return store


def test_the_same_weights_are_in_memory_once(store):
    encoders = SharedEncoders()
    a = store.load("a", encoders=encoders)
    once = encoders.nbytes
    b = store.load("b", encoders=encoders)
    assert b.network.encoder is a.network.encoder
    assert b.network.decoder is not a.network.decoder
    assert (len(encoders), encoders.nbytes) == (1, once)
    other = store.load("c", encoders=encoders)
    assert other.network.encoder is not a.network.encoder
    assert (len(encoders), encoders.nbytes) == (2, 2 * once)


def test_a_shared_encoder_answers_as_an_own_one_does(store):
    encoders = SharedEncoders()
    store.load("b", encoders=encoders).network.encoder.requires_grad_(False)
    image = torch.rand(1, 3, 64, 64)
    for name in ("a", "b", "c"):
        _, unshared = store.load(name).network(image)
        _, shared = store.load(name, encoders=encoders).network(image)
        assert all(torch.equal(x, y) for x, y in zip(unshared, shared, strict=True))


def test_an_encoder_leaves_with_its_last_network(store):
    encoders = SharedEncoders()
    a, b = store.load("a", encoders=encoders), store.load("b", encoders=encoders)
    del a
    gc.collect()
    assert len(encoders) == 1
    del b
    gc.collect()
    assert (len(encoders), encoders.nbytes) == (0, 0)


def test_a_damaged_file_is_refused_though_its_encoder_is_in_memory(store):
    encoders = SharedEncoders()
    loaded = store.load("a", encoders=encoders)
    (path,) = (
        p for p in (store.root / "encoders").iterdir() if p.name == loaded.manifest.encoder_file
    )
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="sha256"):
        store.load("b", encoders=encoders)
