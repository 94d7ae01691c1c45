"""Lines through measured times, and the batch sizes that follow."""

import pytest

from model.checkpoints.key import CheckpointKey
from service.workers.latency import Latencies, fit_line
from service.workers.pipe.messages import LatencyLine

A = CheckpointKey("a", "1")


def test_a_line_is_found_again():
    line = fit_line({n: 0.01 * n + 0.05 for n in (1, 2, 4, 8)})
    assert (line.a_s, line.b_s) == pytest.approx((0.01, 0.05))
    assert line.seconds(16) == pytest.approx(0.21)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({4: 2.0}, (0.5, 0.0)),
        ({1: 2.0, 2: 1.0}, (0.0, pytest.approx(1.2))),  # larger is faster: noise
        ({1: 1.0, 2: 3.0}, (pytest.approx(15 / 13), 0.0)),  # no time is negative
    ],
)
def test_neither_part_is_below_zero(seconds, expected):
    line = fit_line(seconds)
    assert (line.a_s, line.b_s) == expected


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (LatencyLine(0.01, 0.0), 1),  # waiting for others gains nothing
        (LatencyLine(0.01, 0.001), 2),
        (LatencyLine(0.01, 0.004), 8),
        (LatencyLine(0.01, 0.1), 16),  # the allowed maximum
        (LatencyLine(0.0, 0.1), 16),
    ],
)
def test_a_batch_is_the_smallest_that_is_efficient(line, limit):
    latencies = Latencies(16, 0.95)
    latencies.learn(A, {n: line.seconds(n) for n in (1, 2, 4, 8)})
    assert latencies.limit(A) == limit
    if line.a_s and limit < 16:
        assert limit / line.seconds(limit) >= 0.95 / line.a_s - 1e-6


def test_without_a_measurement_a_batch_is_as_large_as_allowed():
    latencies = Latencies(16, 0.95)
    assert (latencies.limit(A), latencies.line(A), latencies.seconds(A, 3)) == (16, None, 0.0)
    latencies.remember_limit(A, 5)
    latencies.remember_limit(A, 9)
    assert latencies.limit(A) == 5


def test_the_line_follows_what_batches_take():
    latencies = Latencies(16, 0.95)
    latencies.learn(A, {n: 0.01 * n + 0.02 for n in (1, 2, 4, 8)})
    for _ in range(30):
        for n in (1, 2, 4, 8):
            latencies.record(A, n, 0.02 * n + 0.1)
    line = latencies.line(A)
    assert (line.a_s, line.b_s) == pytest.approx((0.02, 0.1), rel=0.02)


def test_a_time_that_was_an_accident_is_forgotten_at_once():
    latencies = Latencies(16, 0.95)
    latencies.learn(A, {1: 110.0})
    latencies.record(A, 1, 0.03)
    assert latencies.seconds(A, 1) == pytest.approx(0.03)
    latencies.record(A, 1, 0.05)
    assert latencies.seconds(A, 1) == pytest.approx(0.034)


def test_many_images_go_in_several_batches():
    latencies = Latencies(4, 1.0)
    latencies.learn(A, {n: 1.0 * n + 2.0 for n in (1, 2, 4)})
    assert latencies.seconds(A, 4) == pytest.approx(6)
    assert latencies.seconds(A, 5) == pytest.approx(5 + 2 * 2)
