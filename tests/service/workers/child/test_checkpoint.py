"""A checkpoint on its device: batches and their failures."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.calibration.calibration import Calibration
from model.errors import DeviceLost, OutOfMemory
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Decision, ImageSize
from model.runtimes.torch import torch_detector
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring
from service.workers.child.checkpoint import LoadedCheckpoint, batch_sizes
from service.workers.pipe.messages import Failure, FailureKind, Finding, Item, Sharing


def threshold(value: float) -> Calibration:
    return Calibration(
        image_threshold=value,
        pixel_threshold=value,
        image_scale=10.0,
        pixel_scale=10.0,
        alpha=0.01,
        good_images=150,
    )


THRESHOLDS = {"bolt": threshold(10.0), "nut": threshold(-10.0)}


def batch(*categories: str, wants_map: bool = False, seed: int = 0):
    items = tuple(
        Item(category, ImageSize(48, 96), wants_map, THRESHOLDS[category])
        for category in categories
    )
    dice = np.random.default_rng(seed)
    pixels = dice.integers(0, 256, (len(items), 3, 64, 64), dtype=np.uint8)
    return items, pixels


class FaultyDetector(Detector):
    """A real detector that fails on images with a marked first pixel, or on large batches."""

    def __init__(self, detector: Detector, error: Exception, most: int = 1000) -> None:
        self.__dict__.update(detector.__dict__)
        self.error = error
        self.most = most
        self.calls: list[int] = []

    def attempt(self, images, *details):
        self.calls.append(len(images))
        if (images[:, 0, 0, 0] == 7).any() or len(images) > self.most:
            raise self.error
        return super().attempt(images, *details)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks are faster so, especially beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def detector(network):
    net = network()
    preprocessing = Preprocessing(image_size=(64, 64), mean=net.encoder.mean, std=net.encoder.std)
    return torch_detector(net, preprocessing, Scoring(), THRESHOLDS)


def assert_same(actual, expected):
    assert isinstance(actual, Finding)
    assert actual.decision == expected.decision
    assert actual.raw_score == pytest.approx(expected.raw_score, rel=1e-4)


def test_categories_of_one_batch_are_decided_by_their_own_thresholds(detector):
    items, pixels = batch("bolt", "nut", "bolt")
    outcomes = LoadedCheckpoint(detector).inspect(items, pixels)
    assert [outcome.decision for outcome in outcomes] == [Decision.OK, Decision.NG, Decision.OK]
    assert [outcome.threshold for outcome in outcomes] == [10.0, -10.0, 10.0]
    assert {"encoder", "decoder", "anomaly_map", "decision"} == set(outcomes[0].timings_ms)
    assert outcomes[0].engine == "torch, float32"


def test_an_image_is_decided_by_the_calibration_it_came_with(detector):
    _, pixels = batch("bolt", "bolt")
    items = tuple(
        Item("bolt", ImageSize(48, 96), False, threshold(value)) for value in (-10.0, 10.0)
    )
    outcomes = LoadedCheckpoint(detector).inspect(items, pixels)
    assert [outcome.decision for outcome in outcomes] == [Decision.NG, Decision.OK]


def test_images_of_a_batch_do_not_touch_each_other(detector):
    loaded = LoadedCheckpoint(detector)
    items, pixels = batch(*["bolt", "nut"] * 4, wants_map=True)
    together = loaded.inspect(items, pixels)
    for i in range(8):
        (alone,) = loaded.inspect(items[i : i + 1], pixels[i : i + 1])
        assert_same(together[i], alone)
        np.testing.assert_allclose(together[i].pixel_scores, alone.pixel_scores, atol=1e-5)
    # Its neighbours do not change an image's result.
    pixels[1:] = 255 - pixels[1:]
    assert_same(loaded.inspect(items, pixels)[0], together[0])


def test_a_map_travels_only_when_it_is_wanted(detector):
    loaded = LoadedCheckpoint(detector)
    (without,) = loaded.inspect(*batch("bolt"))
    (with_map,) = loaded.inspect(*batch("bolt", wants_map=True))
    assert without.pixel_scores is None
    assert with_map.pixel_scores.shape == (64, 64)
    assert with_map.pixel_scores.dtype == np.float32
    assert (with_map.pixel_scores > 0).all()
    assert (with_map.pixel_scores < 0.5).all()


def test_a_map_that_is_kept_for_a_decision_travels_with_it_alone(detector):
    items, pixels = batch("bolt", "nut", "nut")
    kept = [{"OK", "NG"}, {"NG"}, {"OK"}]
    items = tuple(
        replace(item, maps_of=frozenset(map(Decision, decisions)))
        for item, decisions in zip(items, kept, strict=True)
    )
    found = LoadedCheckpoint(detector).inspect(items, pixels)
    assert [one.decision for one in found] == [Decision.OK, Decision.NG, Decision.NG]
    assert [one.pixel_scores is not None for one in found] == [True, True, False]


@pytest.mark.parametrize("error", [RuntimeError("shape"), MemoryError(), OutOfMemory("no memory")])
def test_one_bad_image_in_16_fails_alone_after_few_tries(detector, error):
    items, pixels = batch(*["bolt", "nut"] * 8)
    pixels[:, 0, 0, 0] = 0
    expected = LoadedCheckpoint(detector).inspect(items, pixels)
    pixels[5, 0, 0, 0] = 7
    faulty = FaultyDetector(detector, error)
    outcomes = LoadedCheckpoint(faulty).inspect(items, pixels)
    assert outcomes[5] == Failure(FailureKind.FAILED)
    for i in set(range(16)) - {5}:
        assert_same(outcomes[i], expected[i])
    tries = [16, 8, 4, 4, 2, 2, 1, 1, 8]  # 4..7 holds it, then 4..5, then 5
    again = [] if isinstance(error, RuntimeError) and "shape" in str(error) else [1]
    assert sorted(faulty.calls) == sorted(tries + again)


def test_baselines_count_where_they_lie_in_the_devices_memory(detector):
    random = np.random.default_rng(0)
    loaded, alone = LoadedCheckpoint(detector), detector.engine.nbytes
    assert loaded.nbytes == alone
    differences = random.normal(0, 1, (5, 3 * 4 * 4)).astype(np.float32)
    detector.baselines["bolt"] = FeatureBaseline.fit(
        [differences], [(3, 4, 4)], [1.0], (64, 64), 4.0
    )
    assert loaded.nbytes - alone > 16 * (6 * 2 + 9 * 4)  # packed, and working memory


def test_one_nan_in_16_costs_no_second_pass(detector, monkeypatch, caplog):
    items, pixels = batch(*["bolt", "nut"] * 8)
    pixels[9] = 255
    real, calls = detector.engine.compare, []

    def with_nan(images, lap):
        calls.extend(images)
        maps = real(images, lap)
        maps[(images == 255).all(axis=(1, 2, 3)), 0, 0] = np.nan
        return maps

    monkeypatch.setattr(detector.engine, "compare", with_nan)
    outcomes = LoadedCheckpoint(detector).inspect(items, pixels)
    assert [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, Finding)] == [9]
    assert outcomes[9] == Failure(FailureKind.NON_FINITE)
    assert len(calls) == 16


def test_a_batch_too_large_for_memory_is_halved_and_the_limit_remembered(detector):
    items, pixels = batch(*["bolt"] * 8)
    faulty = FaultyDetector(detector, OutOfMemory("no memory"), most=4)
    loaded = LoadedCheckpoint(faulty)
    assert loaded.batch_limit is None
    outcomes = loaded.inspect(items, pixels)
    assert all(isinstance(outcome, Finding) for outcome in outcomes)
    assert faulty.calls == [8, 4, 4]
    assert (loaded.batch_limit, loaded.split) == (4, "out-of-memory")
    loaded.inspect(items[:4], pixels[:4])
    assert (loaded.batch_limit, loaded.split) == (4, None)


def test_why_a_batch_was_split_is_told_to_the_thread_that_computed_it(detector):
    items, pixels = batch(*["bolt"] * 8)
    loaded = LoadedCheckpoint(FaultyDetector(detector, OutOfMemory("no memory"), most=4))
    with ThreadPoolExecutor(1) as other:
        other.submit(loaded.inspect, items, pixels).result()
        assert other.submit(lambda: loaded.split).result() == "out-of-memory"
    assert loaded.split is None


@pytest.mark.parametrize(("lane_s", "sharing"), [(1.2, Sharing.NEVER), (1.3, Sharing.IDLE)])
def test_all_threads_are_put_to_a_lone_image_where_they_are_much_faster(detector, lane_s, sharing):
    seconds = iter((1.0, 3.0, 2.0))
    loaded = LoadedCheckpoint(detector)
    assert loaded.fits_lanes
    assert loaded.sharing(lane_s, lambda step: step() and next(seconds)) is sharing


def test_warming_up_finds_how_long_batches_take_and_how_many_fit(detector):
    faulty = FaultyDetector(detector, OutOfMemory("no memory"), most=5)
    loaded = LoadedCheckpoint(faulty)

    def quick(work):
        assert work() > 0
        return 0.01

    assert list(loaded.warm_up(batch_sizes(16), quick)) == [1, 2, 4]
    assert loaded.batch_limit == 4
    assert list(LoadedCheckpoint(detector).warm_up(batch_sizes(3), quick)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("device", "tried"), [("cpu", [1, 2, 4]), ("cuda:0", [1, 2, 4, 8, 16])], ids=["cpu", "gpu"]
)
def test_batches_that_gain_nothing_are_the_last_on_a_cpu(detector, monkeypatch, device, tried):
    monkeypatch.setattr(detector, "preparation", lambda _most: ())
    monkeypatch.setattr(detector, "engine", SimpleNamespace(device=device))
    taken = {1: 0.1, 2: 0.18, 4: 0.35, 8: 0.7, 16: 1.4}
    times = iter([seconds for seconds in taken.values() for _ in range(2)])
    assert list(LoadedCheckpoint(detector).warm_up(batch_sizes(16), lambda _: next(times))) == tried


def test_slow_batches_are_not_warmed_up_twice_nor_larger_ones_at_all(detector, monkeypatch):
    monkeypatch.setattr(detector, "preparation", lambda _most: ())
    times = [30.0, 0.5, 3.0]  # the first one compiles and does not count

    def slow(work):
        return times.pop(0)

    assert LoadedCheckpoint(detector).warm_up(batch_sizes(16), slow) == {1: 0.5, 2: 3.0}
    assert times == []


def test_a_device_beyond_use_ends_the_worker(detector):
    items, pixels = batch("bolt")
    pixels[0, 0, 0, 0] = 7
    error = DeviceLost("an illegal memory access was encountered")
    with pytest.raises(DeviceLost):
        LoadedCheckpoint(FaultyDetector(detector, error)).inspect(items, pixels)


def test_any_error_ends_the_worker_whose_device_no_longer_answers(detector, monkeypatch):
    monkeypatch.setattr(detector.engine, "answers", lambda: False)
    items, pixels = batch("bolt", "nut")
    pixels[0, 0, 0, 0] = 7
    with pytest.raises(RuntimeError, match="cuDNN"):
        LoadedCheckpoint(FaultyDetector(detector, RuntimeError("cuDNN"))).inspect(items, pixels)


def test_a_single_image_is_tried_again_when_what_it_had_allocated_is_free(detector, monkeypatch):
    allocated, real = [], detector.attempt

    def attempt(images, *details):
        if allocated:
            assert allocated[0]() is None
            return real(images, *details)
        activations = torch.zeros(8)
        allocated.append(weakref.ref(activations))
        raise OutOfMemory("no memory")

    monkeypatch.setattr(detector, "attempt", attempt)
    (answer,) = LoadedCheckpoint(detector).inspect(*batch("bolt"))
    assert isinstance(answer, Finding)


def test_an_engine_is_prepared_before_it_is_timed(detector):
    steps, threads = [], []

    class Prepared(Detector):
        def __init__(self):
            self.__dict__.update(detector.__dict__)

        def preparation(self, most):
            return [lambda: steps.append(most), lambda: steps.append("captured")]

        def attempt(self, images, *details):
            assert steps == [4, "captured"]
            return super().attempt(images, *details)

    def on_device(work):
        threads.append(work)
        return work()

    seconds = LoadedCheckpoint(Prepared()).warm_up([1, 4], on_device)
    assert seconds.keys() == {1, 4}
    assert len(threads) == 2 + 2 * 2  # each step runs alone, like each pass
