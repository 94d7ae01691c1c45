"""Parts of a batch side by side: where it is split, how threads stay separate."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
import torch

from model.calibration.calibration import Calibration
from model.engines.torch import lanes
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from model.network import MambaAD
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring
from tests.model.engines.torch.test_engine import CONFIG

HALF = Preprocessing(image_size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
NORMAL = Calibration(
    image_threshold=1.0, pixel_threshold=1.0, image_scale=1.0, pixel_scale=1.0, alpha=0.1,
    good_images=9,
)  # fmt: skip


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def sizes(count):
    return [part.stop - part.start for part in lanes.divide(count)]


@pytest.mark.parametrize(
    ("processors", "count", "expected"),
    [
        (1, 4, [4]),
        (1, 5, [2, 3]),
        (1, 16, [4, 4, 4, 4]),
        (2, 1, [1]),
        (2, 2, [1, 1]),
        (2, 3, [1, 2]),
        (2, 8, [4, 4]),
        (2, 9, [2, 2, 2, 3]),
        (2, 16, [4, 4, 4, 4]),
        (4, 2, [1, 1]),
        (16, 7, [7]),
        (16, 8, [1] * 8),
        (16, 16, [1] * 16),
    ],
)
def test_a_batch_is_cut_into_equal_parts_that_keep_the_threads_busy(
    threads, processors, count, expected
):
    threads(processors)
    assert sizes(count) == expected


@pytest.mark.parametrize("processors", [1, 2, 3, 8])
def test_parts_are_the_whole_batch_in_order(threads, processors):
    threads(processors)
    for count in range(1, 40):
        parts = lanes.divide(count)
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(count))


def test_calls_run_at_the_same_time_each_with_torch_to_itself(threads):
    threads(2)
    both = threading.Barrier(2, timeout=10)

    def call(name):
        both.wait()
        return name, torch.get_num_threads()

    results = lanes.side_by_side([lambda: call("first"), lambda: call("second")])
    assert results == [("first", 1), ("second", 1)]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == 2


def test_a_single_thread_makes_one_call_after_the_other(threads):
    threads(1)
    here = threading.get_ident()
    assert lanes.side_by_side([threading.get_ident] * 3) == [here] * 3


def test_a_single_call_keeps_every_thread(threads):
    threads(2)
    assert lanes.side_by_side([torch.get_num_threads]) == [2]


def test_a_failure_is_raised_when_nothing_runs_any_more(threads):
    threads(2)
    ended = []

    def fail():
        raise ValueError("the first part")

    def work():
        sleep(0.2)
        ended.append(True)

    with pytest.raises(ValueError, match="the first part"):
        lanes.side_by_side([fail, work])
    assert ended


@pytest.mark.parametrize("processors", [1, 2])
def test_a_divided_batch_is_inspected_like_its_images_one_by_one(threads, processors):
    threads(processors)
    torch.manual_seed(0)
    detector = torch_detector(MambaAD(CONFIG), HALF, Scoring(), {"a": NORMAL, "b": NORMAL})
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 64, 64), dtype=np.uint8)
    names = list("abbabaa")
    together = detector.inspect(images, names, [ImageSize(64, 64)] * 7)
    for image, name, inspection in zip(images, names, together, strict=True):
        (alone,) = detector.inspect(image[None], [name], [ImageSize(64, 64)])
        assert inspection.category == name
        assert inspection.raw_score == pytest.approx(alone.raw_score, rel=1e-4)
        assert set(inspection.timings_ms) == {"encoder", "decoder", "anomaly_map", "decision"}
