"""A worker's process ends when it should, and its end is never missed."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.workers.pipe.messages import WorkerPlan
from service.workers.process import ProcessDied, WorkerProcess

ROOT = Path(__file__).parents[3]

ORPHAN_MAKER = """
import asyncio, os, pathlib, signal
from service.workers.pipe.messages import WorkerPlan
from service.workers.process import WorkerProcess

async def scenario():
    plan = WorkerPlan("cpu", "cpu", "auto", 1, pathlib.Path("nowhere"), "INFO")
    process = WorkerProcess(plan)
    await process.start(120)
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(scenario())
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def plan(device: str = "cpu") -> WorkerPlan:
    return WorkerPlan("test", device, "auto", 1, Path("nowhere"), "INFO")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_worker_dies_with_its_parent(eventually):
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert parent.returncode == -9, parent.stderr
    eventually(lambda: not is_running(int(parent.stdout)), "the worker's end")


def test_a_process_that_is_late_to_start_is_ended():
    async def scenario():
        process = WorkerProcess(plan())
        with pytest.raises(ProcessDied, match=r"no answer for 0\.01 s while starting"):
            await process.start(0.01)
        pid = process.pid
        assert pid is not None
        await process.stop(1)
        assert not is_running(pid)

    asyncio.run(scenario())


def test_a_process_without_its_device_says_why_it_ends():
    async def scenario():
        process = WorkerProcess(plan("cuda:99"))
        with pytest.raises(ProcessDied, match="cannot use cuda:99"):
            await process.start(120)
        await asyncio.wait_for(process.wait_dead(), 60)
        await process.stop(1)

    asyncio.run(scenario())


def test_a_process_that_was_never_started_can_be_stopped():
    async def scenario():
        await WorkerProcess(plan()).stop(1)

    asyncio.run(scenario())
