import math
import time

import pytest

from service.station.cameras.sources.clocks import StreamClock, driver_time

AHEAD_S = 1_000.0
"""The stream's clock is this much ahead of ours."""


def started(now_s=0.0):
    """A clock that has seen ten seconds of frames that arrived 10 to 30 ms late."""
    clock = StreamClock()
    clock.start(now_s)
    for index in range(100):
        taken_s = now_s + index / 10
        late_s = 0.01 if index % 7 == 0 else 0.03
        clock.taken_after(taken_s + AHEAD_S, taken_s + late_s)
    return clock


def test_a_frame_that_came_as_fast_as_any_was_taken_at_its_arrival():
    assert started().taken_after(20 + AHEAD_S, 20.01) == pytest.approx(20.01)


def test_a_frame_that_came_late_was_taken_earlier():
    assert started().taken_after(20 + AHEAD_S, 23.5) == pytest.approx(20.01)


def test_no_frame_is_trusted_in_the_first_second_nor_without_a_time_that_advances():
    clock = StreamClock()
    clock.start(100.0)
    assert clock.taken_after(1.0, 100.9) == -math.inf
    assert clock.taken_after(1.2, 101.1) == pytest.approx(101.1)
    assert clock.taken_after(1.2, 101.2) == -math.inf
    assert clock.taken_after(0.0, 101.3) == -math.inf


def test_clocks_that_drift_apart_are_compared_anew_after_a_minute():
    clock = started()
    drift_s = 0.5
    for index in range(1, 800):
        taken_s = 10 + index / 10
        clock.taken_after(taken_s + AHEAD_S - drift_s, taken_s)
    assert clock.taken_after(100 + AHEAD_S - drift_s, 100.0) == pytest.approx(100.0)


def test_a_new_connection_forgets_the_former():
    clock = started()
    clock.start(200.0)
    clock.taken_after(0.0, 200.0)
    assert clock.taken_after(2.0, 202.5) == pytest.approx(202.0)


def test_a_drivers_time_is_on_the_monotonic_clock_or_on_the_wall_clock():
    stamp_s = time.monotonic() - 0.5
    assert driver_time(stamp_s) == stamp_s
    assert driver_time(time.time() - 0.5) == pytest.approx(time.monotonic() - 0.5, abs=0.2)
    for other in (0.0, time.monotonic() + 60, time.monotonic() - 3_600):
        assert driver_time(other) is None
