"""The inside of a worker: it loads, compares, inspects and unloads checkpoints."""

import gc
import logging
import threading
import weakref
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoints import golden
from model.checkpoints.key import CheckpointKey
from model.errors import ParityError
from model.inspection import Decision, ImageSize
from model.network import MambaAD
from model.runtimes.runtimes import Runtimes
from service.workers.child.inspector import Inspector
from service.workers.child.server import InspectorServer
from service.workers.child.threads import DeviceThread
from service.workers.latency import fit_line
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import (
    BatchRequest,
    Failure,
    FailureKind,
    Item,
    Load,
    LoadReport,
    PriorLoad,
    Sharing,
    Unload,
    WorkerPlan,
)

PARTS = CheckpointKey("parts", "1")
POISONED = CheckpointKey("poisoned", "1")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks are faster so, especially beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def frozen():
    """Unloads do not scan pytest's imports, as they do not scan a worker's."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def inspector(weights):
    return make(weights)


def make(weights: Path, max_batch_size: int = 2) -> Inspector:
    plan = WorkerPlan("cpu", "cpu", "auto", 1, weights, "INFO", max_batch_size=max_batch_size)
    return Inspector(plan, [SharedBlock()], DeviceThread(), Runtimes("cpu", "auto", 1))


@pytest.fixture
def request_of(calibration):
    """A batch whose pixels are in the inspector's block."""

    def write(inspector, key, *categories, maps=()):
        thresholds = {"bolt": 10.0, "nut": -10.0, "ghost": 1.0}
        items = tuple(
            Item(name, ImageSize(48, 96), i in maps, calibration(thresholds[name]))
            for i, name in enumerate(categories)
        )
        request = BatchRequest(3, key, items, (64, 64))
        inspector._blocks[0].reserve(request.nbytes)
        dice = np.random.default_rng(0)
        noise = dice.integers(0, 256, request.pixels_shape, dtype=np.uint8)
        inspector._blocks[0].array(request.pixels_shape, np.uint8)[:] = noise
        return request

    return write


def test_a_load_reports_what_it_took_and_what_batches_take(inspector):
    reply = inspector.load(Load(5, PARTS))
    assert reply.id == 5
    assert isinstance(reply.loaded, LoadReport)
    assert reply.loaded.bytes > 10**6
    assert reply.loaded.seconds > 0
    assert list(reply.seconds) == [1, 2]
    assert fit_line(reply.seconds).seconds(2) > 0
    assert reply.loaded.golden_difference is None
    assert reply.stats.model_bytes > reply.loaded.bytes
    assert reply.stats.device_bytes > 0
    assert reply.stats.encoders == 1


def test_what_is_known_is_not_measured_again(inspector, monkeypatch):
    monkeypatch.setattr("service.workers.child.inspector.batch_sizes", lambda most: [1, 2, 4])
    assert list(inspector.load(Load(0, PARTS)).seconds) == [1, 2, 4]
    for prior, sizes in ((PriorLoad(3, Sharing.IDLE), [1, 3]), (PriorLoad(1, Sharing.NEVER), [1])):
        reply = inspector.load(Load(1, PARTS, prior))
        assert list(reply.seconds) == sizes
        assert reply.loaded.sharing is prior.sharing


def test_checkpoints_on_one_encoder_hold_it_once(inspector):
    first = inspector.load(Load(0, PARTS))
    second = inspector.load(Load(1, POISONED))
    assert second.stats.encoders == 1
    assert second.stats.model_bytes == first.stats.model_bytes + second.loaded.bytes
    encoders = {
        id(loaded._detector.engine.network.encoder) for loaded in inspector._loaded.values()
    }
    assert len(encoders) == 1


def test_what_is_unloaded_is_gone_with_its_encoder(inspector):
    inspector.load(Load(0, PARTS))
    inspector.load(Load(1, POISONED))
    left = inspector.unload(Unload(2, PARTS)).stats
    assert left.encoders == 1
    assert inspector.unload(Unload(3, POISONED)).stats.model_bytes == 0
    assert inspector.unload(Unload(4, POISONED)).stats.encoders == 0


def test_a_checkpoint_that_cannot_be_used_is_refused_without_saying_where(inspector, weights):
    reply = inspector.load(Load(0, CheckpointKey("rotten", "1")))
    assert "sha256" in reply.loaded
    assert str(weights) not in reply.loaded
    assert reply.stats.model_bytes == 0
    assert "nothing" in inspector.load(Load(1, CheckpointKey("nothing", "7"))).loaded


def test_a_checkpoint_that_does_not_fit_the_device_says_so(inspector, monkeypatch):
    def too_large(network, *_):
        raise torch.OutOfMemoryError("tried to allocate 1 TiB at /secret")

    monkeypatch.setattr(MambaAD, "to", too_large)
    reply = inspector.load(Load(0, PARTS))
    assert "found no memory" in reply.loaded
    assert "secret" not in reply.loaded


def test_golden_scores_are_compared_on_this_device(inspector, monkeypatch):
    real = inspector._runtimes.open
    scores = {"off": 0.0}

    def with_golden(directory):
        checkpoint, detector = real(directory)
        images = golden.synthetic_images((64, 64), 2)
        recorded = golden.record(images, "bolt", detector.raw_scores, 0.1)
        shifted = tuple(score + scores["off"] for score in recorded.raw_scores)
        changed = golden.GoldenImages(images, shifted, recorded.tolerance)
        object.__setattr__(checkpoint, "golden", {"bolt": changed})
        return checkpoint, detector

    monkeypatch.setattr(inspector._runtimes, "open", with_golden)
    assert 0 <= inspector.load(Load(0, PARTS)).loaded.golden_difference < 0.5
    scores["off"] = 0.1
    assert ParityError.__name__ not in (reason := inspector.load(Load(1, PARTS)).loaded)
    assert "golden images" in reason


def test_a_network_that_answers_nan_loads_and_is_never_a_decision(inspector, request_of, caplog):
    with caplog.at_level(logging.ERROR, "service"):
        inspector.load(Load(0, POISONED))
    assert "warming up ghost" in caplog.text
    reply = inspector.inspect(request_of(inspector, POISONED, "ghost", "ghost"))
    assert reply.outcomes == (Failure(FailureKind.NON_FINITE),) * 2


def test_maps_come_back_in_the_block_and_not_through_the_pipe(inspector, request_of):
    inspector.load(Load(0, PARTS))
    request = request_of(inspector, PARTS, "bolt", "nut", "bolt", maps=(0, 2))
    reply = inspector.inspect(request)
    assert [outcome.decision for outcome in reply.outcomes] == [
        Decision.OK,
        Decision.NG,
        Decision.OK,
    ]
    assert all(outcome.pixel_scores is None for outcome in reply.outcomes)
    maps = np.stack(inspector._blocks[0].maps(request.map_shapes, request.map_offsets))
    assert maps.shape == (2, 64, 64)
    assert ((maps > 0) & (maps < 0.5)).all()
    assert reply.stats.compute_s > 0
    assert inspector.unload(Unload(1, PARTS)).stats.compute_s == 0


def test_a_map_has_a_place_that_stays_empty_where_its_decision_keeps_none(inspector, request_of):
    inspector.load(Load(0, PARTS))
    request = request_of(inspector, PARTS, "bolt", "nut")
    items = tuple(replace(item, maps_of=frozenset({Decision.NG})) for item in request.items)
    request = replace(request, items=items)
    inspector._blocks[0].reserve(request.nbytes)
    reply = inspector.inspect(request)
    assert [one.decision for one in reply.outcomes] == [Decision.OK, Decision.NG]
    assert all(one.pixel_scores is None for one in reply.outcomes)
    empty, written = inspector._blocks[0].maps(request.map_shapes, request.map_offsets)
    assert not empty.any()
    assert written.all()


def test_a_batch_for_what_is_not_loaded_fails(inspector, request_of):
    reply = inspector.inspect(request_of(inspector, PARTS, "bolt", "nut"))
    assert reply.outcomes == (Failure(FailureKind.CHECKPOINT),) * 2


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("loads", [8, pytest.param(45, marks=pytest.mark.long)])
def test_loads_and_unloads_leave_memory_as_it_was(tmp_path, save, network, frozen, loads):
    """A checkpoint of few operators and much weight shows leaks sooner."""
    heavy = replace(network().config, encoder="test_resnet")
    save(tmp_path, "parts", {"bolt": 10.0}, MambaAD(heavy))
    inspector = make(tmp_path, max_batch_size=1)

    def cycle(count):
        for number in range(count):
            inspector.load(Load(number, PARTS))
            stats = inspector.unload(Unload(number, PARTS)).stats
        gc.collect()
        return stats

    before = cycle(3)
    after = cycle(loads)
    assert (after.model_bytes, after.encoders) == (0, 0)
    weight = 19 * 2**20  # of one checkpoint without its encoder
    assert after.device_bytes < before.device_bytes + weight // 4


def test_what_a_load_that_fails_had_taken_is_let_go_before_memory_is_given_back(
    inspector, monkeypatch
):
    taken, released = [], []

    def fail(checkpoint, detector):
        taken.append(weakref.ref(detector))
        raise ParityError("scores otherwise")

    monkeypatch.setattr(inspector, "_compare", fail)
    monkeypatch.setattr(inspector._runtimes, "release", lambda: released.append(taken[0]() is None))
    assert "otherwise" in inspector.load(Load(0, PARTS)).loaded
    assert released == [True]


def test_a_thread_that_loaded_is_gone_before_the_next_batch(weights):
    """While it lives, OpenMP counts its helper threads and lets those of the device sleep."""
    here, there = Pipe()
    plan = WorkerPlan("cpu", "cpu", "auto", 1, weights, "INFO", max_batch_size=1, heartbeat_s=60)
    runtimes = Runtimes("cpu", "auto", 1)
    opened, real = [], runtimes.open

    def recorded(directory):
        opened.append(threading.current_thread())
        return real(directory)

    runtimes.open = recorded
    server = InspectorServer(there, plan, [SharedBlock()], runtimes)
    serving = threading.Thread(target=server._device.run, daemon=True)
    serving.start()
    threading.Thread(target=server._load, daemon=True).start()
    for number in (1, 2):
        server._loads.put(Load(number, PARTS))
        reply = here.recv()
        assert isinstance(reply.loaded, LoadReport)
        server._loads.put(Unload(number + 10, PARTS))
        here.recv()  # nothing starts before the previous one has ended
        assert not opened[-1].is_alive()
    assert len(set(opened)) == 2
    server._device.end()
    serving.join(timeout=10)
