"""The computing threads of a worker, and the memory that it returns."""

import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model.engines.torch.lanes import lane_threads
from service.workers.child.threads import DeviceThread, process_bytes, return_free_memory


def run(lanes, scenario):
    """Let a scenario pass calls to a device's threads; return its result."""
    started, devices = threading.Event(), []

    def serve():
        devices.append(DeviceThread(lanes))
        started.set()
        devices[0].run()

    with ThreadPoolExecutor() as threads:
        serving = threads.submit(serve)
        started.wait(10)
        try:
            return threads.submit(scenario, devices[0]).result(30)
        finally:
            devices[0].end()
            serving.result(30)


def test_lanes_compute_at_the_same_time_by_one_thread_of_torch_each():
    def scenario(device):
        both, answers, done = threading.Barrier(2, timeout=10), [], threading.Semaphore(0)

        def call():
            both.wait()
            answers.append(torch.get_num_threads())
            done.release()

        for _ in range(2):
            device.post(call, alone=False)
        assert all(done.acquire(timeout=10) for _ in range(2))
        return answers

    assert run(2, scenario) == [1, 1]


def processors_of_lanes(lanes):
    def scenario(device):
        all_here, processors = threading.Barrier(lanes, timeout=10), queue.SimpleQueue()

        def call():
            all_here.wait()
            processors.put(os.sched_getaffinity(0))

        for _ in range(lanes):
            device.post(call, alone=False)
        return [processors.get(timeout=10) for _ in range(lanes)]

    return run(lanes, scenario)


@pytest.fixture
def fresh_lanes():
    """Threads separate from those of other tests."""
    lane_threads.cache_clear()
    yield
    lane_threads.cache_clear()


@pytest.mark.usefixtures("fresh_lanes")
def test_as_many_lanes_as_processors_have_one_each():
    allowed = os.sched_getaffinity(0)
    two = set(sorted(allowed)[:2])
    if len(two) < 2:
        pytest.skip("this machine has one processor")
    os.sched_setaffinity(0, two)
    try:
        of_lanes = processors_of_lanes(2)
    finally:
        os.sched_setaffinity(0, allowed)
    assert sorted(of_lanes, key=min) == [{processor} for processor in sorted(two)]


@pytest.mark.usefixtures("fresh_lanes")
def test_fewer_lanes_than_processors_go_where_the_kernel_puts_them(monkeypatch):
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed | {max(allowed) + 1})
    kept_apart = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, only: kept_apart.append(only))
    processors_of_lanes(len(allowed))
    assert not kept_apart


def test_what_goes_alone_waits_for_the_lanes_and_they_for_it():
    def scenario(device):
        order, leave = [], threading.Event()

        def slow():
            leave.wait(10)
            order.append("lane")

        device.post(slow, alone=False)
        device.post(lambda: order.append("alone"))
        threading.Timer(0.1, leave.set).start()
        device.call(lambda: order.append("lane again"), alone=False)
        return order

    assert run(2, scenario) == ["lane", "alone", "lane again"]


def test_without_lanes_calls_are_made_one_by_one_in_the_devices_thread():
    def scenario(device):
        places = []
        for alone in (True, False):
            device.post(lambda: places.append(threading.get_ident()), alone=alone)
        return {*places, device.call(threading.get_ident)}

    assert len(run(1, scenario)) == 1


@pytest.mark.serial
def test_memory_that_was_freed_leaves_the_process():
    """Like after a load: freed pages below one still in use, where no heap shrinks."""
    blocks = [np.ones(2**15) for _ in range(800)]  # 256 KiB each, on the heap of this thread
    del blocks[:-1]
    return_free_memory()
    baseline = process_bytes()
    again = [np.ones(2**15) for _ in range(800)]
    allocated = process_bytes()
    del again[:-1]
    return_free_memory()
    assert allocated > baseline + 100 * 2**20
    assert process_bytes() < allocated - 100 * 2**20
