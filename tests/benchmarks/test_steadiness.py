"""The machine's speed during a run, by constant work."""

import math
import multiprocessing
import os
import time

import numpy as np
import pytest

from benchmarks.loading.steadiness import MachineSpeed, Steadiness, machine_speed


class FakeCore:
    """The pipe end of a core with these samples."""

    def __init__(self, samples):
        self.samples = samples

    def send(self, message):
        assert message is None

    def poll(self, seconds):
        return self.samples is not None

    def recv(self):
        return np.array(self.samples)


def collected(*cores):
    speed = MachineSpeed([FakeCore(core) for core in cores])
    speed.collect()
    return speed


def test_a_slow_second_is_told_from_the_others():
    usual = [(k + 0.5, 0.001) for k in range(4)]
    slow = [(4.5, 0.0015), (5.5, 0.00105)]
    speed = collected(usual + slow, usual + slow)
    assert speed.work_s(0, 4) == 0.001
    assert speed.steadiness(2, 6, usual_s=0.001) == Steadiness(pytest.approx(1.5), 0.25)
    text = speed.steadiness(2, 6, usual_s=0.001).text()
    assert "1.50 times" in text
    assert "25% of the seconds" in text


def test_without_samples_nothing_is_known():
    assert math.isnan(collected([(0.5, 0.001)]).work_s(1, 2))
    assert collected([(0.5, 0.001)]).steadiness(1, 4, usual_s=0.001) is None
    assert collected(None, [(0.5, 0.001)]).work_s(0, 1) == 0.001  # one core does not answer


def test_the_machine_is_watched_while_the_block_runs():
    before = set(multiprocessing.active_children())
    with machine_speed() as speed:
        started = time.monotonic()
        speed.collect()
        time.sleep(0.5)
        speed.collect()
        ended = time.monotonic()
        assert set(multiprocessing.active_children()) > before
    assert 0 < speed.work_s(started, ended) < 1
    assert set(multiprocessing.active_children()) == before


def test_where_cores_cannot_be_named_nothing_is_known(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    with machine_speed() as speed:
        speed.collect()
    assert speed.steadiness(0, 4, usual_s=0.001) is None
