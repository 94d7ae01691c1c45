"""Every step of the engine on the CPU, where `CpuDevice` replays functions instead of graphs."""

import copy
import gc
import logging
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.golden import GoldenImages
from model.engines.cuda import engine as engine_module
from model.engines.cuda.agreement import TOLERANCE, Agreement
from model.engines.cuda.buckets import bucket_sizes
from model.engines.cuda.device import CpuDevice
from model.engines.cuda.engine import CudaEngine, CudaShare
from model.engines.cuda.plan import REFERENCE, Plan
from model.engines.torch.engine import TorchEngine
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.memory import Memory
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="tf_efficientnet_lite0", image_size=(32, 64), scan="sweep", directions=2,
    depths=(2, 3, 2, 2), state_size=2,
)  # fmt: skip
PREPROCESSING = Preprocessing(image_size=(32, 64), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
SCORING = Scoring(sigma=2.0, scale_weights=(0.0, 1.0, 2.0))
STAGES = ["encoder", "decoder", "anomaly_map"]
TF32 = Plan("tf32", "tf32", fused=False)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = MambaAD(CONFIG)
    for module in made.modules():  # folding must use these statistics
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return made.eval()


def share(**options):
    return CudaShare(CpuDevice(), fused=False, **options)


def made(network, **options):
    return CudaEngine(network, PREPROCESSING, SCORING, share(**options))


def pixels(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(network):
    engine = TorchEngine(copy.deepcopy(network), PREPROCESSING, SCORING)
    return engine.compare(pixels(), lambda _: None)


@pytest.fixture(scope="module")
def prepared(network):
    engine = made(network, precision="tf32")
    for step in engine.preparation(4):
        step()
    return engine


def check(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=5e-6)


def test_unprepared_it_computes_what_the_network_does(network, expected):
    laps = []
    engine = made(network)
    check(engine.compare(pixels(), laps.append), expected)
    assert laps == STAGES
    assert engine.captured == ()
    assert engine.nbytes > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_prepared_it_pads_to_a_bucket_and_cuts_off_what_it_added(prepared, expected, count):
    assert prepared.captured == (1, 2, 3, 4)
    laps = []
    maps = prepared.compare(pixels()[:count], laps.append)  # 5 exceed every bucket
    check(maps, expected[:count])
    assert laps == STAGES


@pytest.mark.parametrize("memory", [0, 9])
def test_differences_are_replayed_as_maps_are(network, memory):
    scoring = Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0), memory=memory)
    plain = TorchEngine(copy.deepcopy(network), PREPROCESSING, scoring)
    expected = plain.compare(pixels(), lambda _: None)
    engine = CudaEngine(network, PREPROCESSING, scoring, share(precision="tf32"))
    same = partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5)
    same(engine.compare(pixels(), lambda _: None), expected)
    for step in engine.preparation(4):
        step()
    assert engine.captured == (1, 2, 3, 4)
    same(engine.compare(pixels(3), lambda _: None), expected[:3])


def test_what_it_returns_is_the_callers(prepared):
    first = prepared.compare(pixels(2), lambda _: None)
    copied = first.copy()
    prepared.compare(255 - pixels(2), lambda _: None)
    np.testing.assert_array_equal(first, copied)


def test_padding_keeps_nothing_of_the_batch_before(prepared, expected):
    prepared.compare(255 - pixels(4), lambda _: None)
    check(prepared.compare(pixels(4)[:3], lambda _: None), expected[:3])


def test_the_network_itself_is_left_as_it_was(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made(network, precision="bfloat16").compare(pixels(1), lambda _: None)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_networks_on_one_encoder_share_its_copy(network):
    common = share()
    engines = [CudaEngine(network, PREPROCESSING, SCORING, common) for _ in range(2)]
    encoders = [engine._built(REFERENCE)._encoder for engine in engines]
    assert encoders[0] is encoders[1]
    assert encoders[0] is not network.encoder


def test_bucket_sizes():
    assert bucket_sizes(1) == [1]
    assert bucket_sizes(4) == [1, 2, 3, 4]
    assert bucket_sizes(10) == [1, 2, 3, 4, 6, 8, 10]
    sizes = bucket_sizes(32)
    assert sizes == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


class Refusing(CpuDevice):
    """Captures nothing from a batch size on; if `dead`, it answers nothing afterwards."""

    def __init__(self, error, dead=False):
        self._error, self._dead = error, dead

    def capture(self, work):
        if len(work()[0]) >= 3:
            raise self._error
        return super().capture(work)

    def check(self):
        if self._dead:
            raise RuntimeError("device is lost")


def refusing(network, device):
    engine = CudaEngine(network, PREPROCESSING, SCORING, CudaShare(device, "float32", fused=False))
    for step in engine.preparation(4):
        step()
    return engine


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted"), torch.OutOfMemoryError("full")]
)
def test_what_cannot_be_captured_stays_eager_and_the_log_says_why(network, expected, caplog, error):
    with caplog.at_level(logging.WARNING):
        engine = refusing(network, Refusing(error))
    assert engine.captured == (1, 2)
    assert f"no graph for batches of 4: {error}" in caplog.text
    check(engine.compare(pixels(4), lambda _: None), expected[:4])


def test_a_device_that_died_over_a_capture_is_not_hidden(network):
    with pytest.raises(RuntimeError, match="device is lost"):
        refusing(network, Refusing(RuntimeError("misaligned address"), dead=True))


def test_without_graphs_nothing_is_captured(network):
    engine = made(network, precision="float32", graphs=False)
    for step in engine.preparation(4):
        step()
    assert engine.captured == ()
    assert engine.plan == REFERENCE


def test_the_plan_is_chosen_by_agreement_and_time(network, monkeypatch):
    seconds = {REFERENCE: 3.0, TF32: 2.0}
    monkeypatch.setattr(engine_module.Choice, "_seconds", lambda _, network: seconds[network.plan])
    shares = {REFERENCE: 0.0, TF32: 0.9}
    monkeypatch.setattr(engine_module.Choice, "_share", lambda _, network: shares[network.plan])

    def chosen():
        engine = made(network, precision="tf32", graphs=False)
        for step in engine.preparation(2):
            step()
        return engine.plan

    assert chosen() == TF32
    seconds[TF32] = 4.0
    assert chosen() == REFERENCE
    seconds[TF32], shares[TF32] = 2.0, 1.1
    assert chosen() == REFERENCE


def test_what_overflows_in_16_bits_is_computed_again(network, expected, caplog):
    engine = made(network)
    engine.plan = Plan("float16", "float32", fused=False)
    broken = engine._built(REFERENCE)
    broken._shift = broken._shift + torch.inf
    engine._network = broken
    with caplog.at_level(logging.WARNING):
        check(engine.compare(pixels(2), lambda _: None), expected[:2])
    assert "2 images overflow" in caplog.text
    engine.plan = TF32  # float32's range: infinite values come from the network
    assert not np.isfinite(engine.compare(pixels(1), lambda _: None)).any()


def test_sixteen_bits_are_close(network, expected):
    engine = made(network)
    engine.plan = Plan("bfloat16", "bfloat16", fused=False)
    maps = engine.compare(pixels(2), lambda _: None)
    assert np.abs(maps - expected[:2]).max() < 0.05
    assert np.abs(maps - expected[:2]).max() > 1e-6  # so it was not float32


def test_agreement_is_a_share_of_the_tolerance():
    flat = np.zeros((2, 4, 4), np.float32)
    plain = Agreement(np.zeros((2, 3, 4, 4), np.uint8), Scoring())
    assert plain.share(flat, flat + np.float32(TOLERANCE / 2)) == pytest.approx(0.5)
    assert np.isnan(plain.share(flat, flat + np.float32(np.nan)))


def test_golden_images_have_tolerances_of_their_own():
    images = np.zeros((2, 3, 4, 4), np.uint8)
    golden = {
        "strict": GoldenImages(images[:1], (0.0,), 2e-4),
        "loose": GoldenImages(images[1:], (0.0,), 10.0),
    }
    deviation = np.full((4, 4), 0.5, np.float32)
    baselines = {name: Baseline(np.zeros((4, 4), np.float32), deviation) for name in golden}
    scoring = Scoring(standardise=True)
    agreement = Agreement.of(scoring, (4, 4), golden, baselines)
    flat = np.zeros((2, 4, 4), np.float32)
    first = flat + np.float32([[[1e-4]], [[0]]])
    assert agreement.share(flat, first) == pytest.approx(2e-4 / 1e-4)  # over half its tolerance
    second = flat + np.float32([[[0]], [[1e-4]]])
    assert agreement.share(flat, second) == pytest.approx(1e-4 / TOLERANCE)
    assert len(Agreement.of(scoring, (32, 32)).images) == 4  # synthetic ones


def test_differences_agree_by_their_length_and_by_the_scores_they_come_to():
    random = np.random.default_rng(0)
    differences = random.normal(0, 1, (3, 2 * 4 * 4)).astype(np.float32)
    scoring, images = Scoring(distance="mahalanobis"), np.zeros((3, 3, 4, 4), np.uint8)
    good = random.normal(0, 1, (50, 2 * 4 * 4)).astype(np.float32)
    baselines = {"part": FeatureBaseline.fit([good], [(2, 4, 4)], [1.0], (4, 4), 0.0)}
    loose = Agreement.of(
        scoring, (4, 4), {"part": GoldenImages(images, (0.0,) * 3, 1.0)}, baselines
    )
    off = differences * np.float32(1 + 2e-4)
    assert loose.share(differences, off) == pytest.approx(0.2, rel=1e-2)
    strict = Agreement.of(
        scoring, (4, 4), {"part": GoldenImages(images, (0.0,) * 3, 1e-5)}, baselines
    )
    before, after = (baselines["part"].standardise(d).max(axis=(1, 2)) for d in (differences, off))
    expected = np.abs(after - before).max() / 5e-6
    assert expected > 1
    assert strict.share(differences, off) == pytest.approx(expected, rel=1e-2)
    assert np.isnan(strict.share(differences, off * np.nan))


def test_a_memory_agrees_by_the_scores_of_golden_images():
    rows = np.random.default_rng(0).normal(0, 1, (3, 32 * 32 + 2 * 4 * 4)).astype(np.float32)
    plain = np.eye(2, dtype=np.float32)
    memory = Memory(np.zeros((1, 2), np.float32), plain, (4, 4), (32, 32), 0.0)
    fused = FusedBaseline(None, memory, np.array([[0, 1], [0, 2]], np.float32), 1.0)
    scoring, images = Scoring(memory=1), np.zeros((3, 3, 32, 32), np.uint8)
    golden = {"part": GoldenImages(images, (0.0,) * 3, 0.1)}
    off = rows * np.float32(1 + 4e-3)
    before, after = (fused.standardise(r).max(axis=(1, 2)) for r in (rows, off))
    expected = np.abs(after - before).max() / 0.05
    known = Agreement.of(scoring, (32, 32), golden, {"part": fused})
    assert known.share(rows, off) == pytest.approx(expected, rel=1e-3)
    assert np.isnan(known.share(rows, off * np.nan))
    unknown = Agreement.of(scoring, (32, 32), golden)
    assert unknown.share(rows, off) == pytest.approx(4.0, rel=1e-2)


def test_a_detector_computes_a_checkpoint_by_it(network, expected):
    calibration = Calibration(
        image_threshold=1.0, pixel_threshold=1.0, image_scale=1.0, pixel_scale=1.0, alpha=0.01,
        good_images=1,
    )  # fmt: skip
    checkpoint = SimpleNamespace(
        network=network, preprocessing=PREPROCESSING, scoring=SCORING, golden={}, baselines={},
        calibrations={"part": calibration}, manifest=SimpleNamespace(areas={}),
    )  # fmt: skip
    detector = open_checkpoint(checkpoint, cuda=share(precision="float32"))
    for step in detector.preparation(2):
        step()
    assert isinstance(detector.engine, CudaEngine)
    assert detector.engine.captured == (1, 2)
    check(detector.anomaly_maps(pixels(2)), expected[:2])
    plain = torch_detector(copy.deepcopy(network), PREPROCESSING, SCORING, {})
    assert len(plain.preparation(2)) == 2  # recordings, on a CPU


def test_nothing_keeps_an_engine_that_nobody_holds(network):
    """Its graphs hold device memory, which must not wait for the cycle collector."""
    gc.disable()
    try:
        engine = made(network, precision="tf32")
        for step in engine.preparation(2):
            step()
        parts = [weakref.ref(x) for x in (engine._network, *engine._buckets[2].stages.values())]
        del engine, step
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()
