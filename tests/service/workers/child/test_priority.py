"""A spare's priority: low in its own threads, untouched in the main thread, also without root."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads")

UNPRIVILEGED = """
import os, threading
from service.workers.child.priority import at_low_priority
from service.workers.child.threads import DeviceThread

def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def started():
    nices = []
    thread = threading.Thread(target=lambda: nices.append(nice()))
    thread.start()
    thread.join()
    return nices[0]

import model.engines.torch.lanes, model.runtimes.torch, model.scan.numba.backend

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert os.getuid() != 0
before = nice()
assert at_low_priority(nice) == max(before, 10)
assert at_low_priority(started) == max(before, 10)  # a thread that it starts
assert nice() == started() == before

device = DeviceThread(2, in_background=True)
seen = []
device.post(lambda: seen.append(nice()))
device.end()
device.run()
device.come_forward()
device.post(lambda: seen.append(nice()))
device.end()
device.run()
assert seen == [max(before, 10), before]

from model.engines.torch.lanes import lane_threads
from model.runtimes.torch import TorchRuntime
from model.scan.numba import threads as scan

def in_pools():
    return {pool(2).submit(nice).result() for pool in (lane_threads, scan._pool)}

runtime = TorchRuntime("cpu", "auto", 2)
assert at_low_priority(in_pools) == {max(before, 10)} == in_pools()
runtime.renew_threads()
assert in_pools() == {before}

try:
    at_low_priority(lambda: 1 / 0)
except ZeroDivisionError:
    print("done")
"""


def test_an_unprivileged_process_comes_forward_at_its_first_priority():
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")
