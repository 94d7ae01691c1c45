import math
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.engines.torch import engine as torch_engine
from model.engines.torch.device import check_device
from model.engines.torch.engine import TorchEngine
from model.engines.torch.recording import Recording
from model.errors import BackendUnavailable, DeviceLost, OutOfMemory
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.network.normalise import normalise
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="mobilenetv3_small_050", image_size=(64, 64), scan="sweep", directions=2,
    depths=(2, 2, 2, 2), state_size=1,
)  # fmt: skip
IMAGENET = Preprocessing(image_size=(64, 64), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def engine():
    return build()


def pixels(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)


def nothing(_stage):
    pass


def test_normalising_is_the_published_transform():
    batch = torch.from_numpy(pixels())
    mean = torch.tensor(IMAGENET.mean).view(3, 1, 1)
    std = torch.tensor(IMAGENET.std).view(3, 1, 1)
    torch.testing.assert_close(normalise(batch, IMAGENET), (batch / 255 - mean) / std)


def test_stages_are_named_in_their_order(engine):
    stages = []
    maps = engine.compare(pixels(1), stages.append)
    assert (maps.shape, maps.dtype) == ((1, 64, 64), np.float32)
    assert stages == ["encoder", "decoder", "anomaly_map"]
    assert engine.device == "cpu"


def test_pixels_may_lie_anywhere_and_are_left_as_they_are(engine):
    expected = engine.compare(pixels(), nothing)
    read_only = pixels()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(engine.compare(read_only, nothing), expected)
    mirrored = pixels()[:, :, ::-1].copy()[:, :, ::-1]  # the same values, backwards in memory
    np.testing.assert_array_equal(engine.compare(mirrored, nothing), expected)


def test_the_weight_of_a_network_is_without_its_encoder(engine):
    network = engine.network
    total = sum(t.nbytes for t in network.state_dict().values())
    assert engine.nbytes < total
    shared = sum(t.nbytes for t in network.encoder.state_dict().values())
    assert engine.nbytes >= total - shared  # counts buffers outside the state too


def build(scoring=None):
    torch.manual_seed(0)
    return TorchEngine(MambaAD(CONFIG), IMAGENET, scoring or Scoring())


def prepared(engine, most=16):
    for step in engine.preparation(most):
        step()
    return engine


@pytest.fixture(autouse=True)
def _never_slow(monkeypatch):
    """Record even if this machine is busy."""
    monkeypatch.setattr(torch_engine, "_SLOW_S", math.inf)


@pytest.fixture
def recordings(monkeypatch):
    """The sizes of the batches that recordings computed."""
    counts = []
    plain = Recording.__call__

    def call(self, x, lap):
        counts.append(len(x))
        return plain(self, x, lap)

    monkeypatch.setattr(Recording, "__call__", call)
    return counts


@pytest.mark.parametrize(
    "scoring",
    [Scoring(), Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0))],
    ids=["cosine", "mahalanobis"],
)
def test_a_prepared_engine_answers_the_same_from_recordings(scoring, recordings):
    plain, quick = build(scoring), prepared(build(scoring))
    recordings.clear()  # drop those of the check
    for count in (1, 2, 3, 4):
        stages = []
        maps = quick._compare(pixels(count), stages.append)
        np.testing.assert_allclose(maps, plain._compare(pixels(count), nothing), rtol=1e-4)
        assert stages == ["encoder", "decoder", "anomaly_map"]
    assert recordings == [1, 2, 3, 4]
    np.testing.assert_allclose(
        quick._compare(pixels(5), nothing), plain._compare(pixels(5), nothing), rtol=1e-4
    )
    assert recordings == [1, 2, 3, 4]


def test_no_larger_parts_are_recorded_than_are_asked_for(recordings):
    engine = prepared(build(), most=2)
    assert set(recordings) == {1, 2}
    prepared(engine, most=2)  # checked once
    assert len(recordings) == 2  # one call each, to check


def test_a_slow_network_is_not_recorded(monkeypatch, recordings):
    monkeypatch.setattr(torch_engine, "_SLOW_S", 0.0)
    engine = prepared(build())
    engine.compare(pixels(1), nothing)
    assert recordings == []


def test_a_network_that_only_waits_for_the_processor_is_recorded(monkeypatch, recordings):
    monkeypatch.setattr(torch_engine, "_SLOW_S", 0.5)
    plain = TorchEngine._computed

    def waiting(*args):
        time.sleep(0.6)
        return plain(*args)

    monkeypatch.setattr(TorchEngine, "_computed", waiting)
    prepared(build(), most=1)
    assert recordings == [1]


def test_a_recording_that_answers_otherwise_is_not_used(monkeypatch, caplog):
    plain = Recording.__call__
    monkeypatch.setattr(Recording, "__call__", lambda *args: 1.001 * plain(*args))
    engine = prepared(build())
    np.testing.assert_array_equal(
        engine.compare(pixels(1), nothing), build().compare(pixels(1), nothing)
    )
    assert "not recorded" in caplog.text


def test_a_network_that_cannot_be_recorded_runs_as_it_is(caplog):
    engine = build()
    right = engine._compared
    engine._compared = lambda *args: right(*args) + float(args[0][0].sum() > 1e9)
    with caplog.at_level("INFO"):
        prepared(engine)
    assert "depends on tensors' values" in caplog.text
    np.testing.assert_array_equal(
        engine.compare(pixels(1), nothing), build().compare(pixels(1), nothing)
    )


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("tried to allocate 1 TiB"), OutOfMemory),
        (torch.AcceleratorError("an illegal memory access was encountered"), DeviceLost),
        (RuntimeError("shape"), RuntimeError),
    ],
)
def test_what_torch_raises_is_told_apart_and_keeps_no_memory(engine, monkeypatch, raised, expected):
    allocated = []

    def fail(_batch):
        activations = torch.zeros(8)
        allocated.append(weakref.ref(activations))
        raise type(raised)(*raised.args)

    monkeypatch.setattr(engine, "_prepared", SimpleNamespace(encoder=fail))
    try:
        engine.compare(pixels(), nothing)
    except Exception as error:
        assert type(error) is expected
    assert allocated[0]() is None
    assert engine.answers()


def test_a_device_that_is_not_there_is_named():
    check_device("cpu")
    with pytest.raises(BackendUnavailable, match="cannot use cuda:99"):
        check_device("cuda:99")
