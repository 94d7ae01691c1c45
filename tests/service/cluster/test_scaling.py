"""Workers are added while images wait for long, one by one, and end after a quiet time."""

import pytest

from service.cluster.scaling import Scaler


@pytest.fixture
def decide():
    scaler = Scaler(fewest=1, most=3, queue_age_s=0.25, idle_s=60.0)

    def look(present, now, *, oldest_s=0.0, jobs=0, all_ready=True):
        return scaler.decide(present, all_ready=all_ready, oldest_s=oldest_s, jobs=jobs, now=now)

    return look


def test_one_look_at_a_long_queue_is_a_burst(decide):
    assert decide(1, 0.0, oldest_s=1.0, jobs=5) == 1
    assert decide(1, 0.5) == 1
    assert decide(1, 1.0, oldest_s=1.0, jobs=5) == 1


def test_a_queue_that_stays_long_adds_one_worker_after_the_other(decide):
    assert [decide(1, now, oldest_s=1.0, jobs=5) for now in (0.0, 0.5)] == [1, 2]
    assert [decide(2, now, oldest_s=1.0, jobs=5, all_ready=False) for now in (1.0, 1.5)] == [2, 2]
    assert [decide(2, now, oldest_s=1.0, jobs=5) for now in (2.0, 2.5)] == [2, 3]
    assert [decide(3, now, oldest_s=1.0, jobs=5) for now in (3.0, 3.5)] == [3, 3]


def test_a_short_queue_adds_none(decide):
    assert [decide(1, now, oldest_s=0.2, jobs=5) for now in (0.0, 0.5, 1.0)] == [1, 1, 1]


def test_idle_workers_end_one_by_one_down_to_the_fewest(decide):
    assert decide(3, 0.0, jobs=1) == 3
    assert decide(3, 59.0) == 3
    assert decide(3, 61.0) == 2
    assert decide(2, 100.0) == 2
    assert decide(2, 122.0) == 1
    assert decide(1, 1000.0) == 1


def test_a_job_begins_the_quiet_time_again(decide):
    decide(2, 0.0, jobs=1)
    decide(2, 59.0, jobs=1)
    assert decide(2, 100.0) == 2
    assert decide(2, 120.0) == 1


def test_there_are_never_fewer_than_the_fewest(decide):
    assert decide(0, 0.0) == 1
