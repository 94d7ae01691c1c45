"""A spare takes over from a worker that is killed, crashes or hangs, with the same answers."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.service.live import serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads of low priority")

SPARE_TIMEOUT_S = 300.0
"""Long, for a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def spared(live_store):
    """A separate service with a spare."""
    with serving(
        live_store,
        workers__spare="on",
        workers__threads_per_worker=2,
        workers__max_batch_size=4,
        workers__heartbeat_timeout_ms=5000,
        workers__restart_backoff_s=30,
        workers__stop_grace_s=2,
    ) as live:
        yield live


def takeovers(live):
    return live.metric("mambaad_worker_takeovers_total")


def await_spare(live):
    """Wait for the spare, whose low priority may not hold up the tests where root can raise it."""

    def is_ready():
        for pid in pids(live)[1:]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                for thread in psutil.Process(pid).threads():
                    os.setpriority(os.PRIO_PROCESS, thread.id, os.getpriority(os.PRIO_PROCESS, 0))
        return live.metric("mambaad_spare_state", state="ready")

    live.until(is_ready, "spare", SPARE_TIMEOUT_S)


def pids(live):
    """The ids of the worker's and the spare's process, the older one first."""
    children = [child for child in live.front.children() if "spawn_main" in str(child.cmdline())]
    return [child.pid for child in sorted(children, key=psutil.Process.create_time)]


def exact(result):
    """Everything that the network has computed."""
    return {key: result[key] for key in ("decision", "score", "raw_score", "threshold", "regions")}


@pytest.mark.parametrize("fault", ["SIGSEGV", "SIGSTOP"])
def test_the_spare_takes_over_with_the_same_answers(spared, image, fault):
    contents = [image(seed=seed) for seed in range(3)]
    await_spare(spared)
    expected = [exact(spared.inspect(content)) for content in contents]
    loads, before = spared.metric("mambaad_model_loads_total"), takeovers(spared)
    recoveries = spared.metric("mambaad_worker_recovery_seconds_count")
    worker, spare = pids(spared)
    os.kill(worker, getattr(signal, fault))
    # It may not start a new worker within 30 s, so only the spare can take over.
    spared.until(lambda: takeovers(spared) == before + 1, "takeover")
    assert [exact(spared.inspect(content)) for content in contents] == expected
    assert pids(spared)[0] == spare
    assert worker not in pids(spared)
    assert spared.metric("mambaad_model_loads_total") == loads
    await_spare(spared)
    assert spared.metric("mambaad_worker_recovery_seconds_count") == recoveries + 1
    assert spared.tracebacks() == []


def test_every_part_is_answered_once_while_a_worker_is_killed(spared, image):
    await_spare(spared)
    spared.inspect(image())  # the first death in a row
    before = takeovers(spared)
    worker = pids(spared)[0]
    with spared.client() as client, ThreadPoolExecutor(8) as threads:

        def post(number):
            if number == 20:
                os.kill(worker, signal.SIGKILL)
            return client.post("/detect?category=bolt", content=image(seed=number))

        answers = list(threads.map(post, range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    spared.until(lambda: takeovers(spared) == before + 1, "takeover")
    decisions = [answer.json()["decision"] for answer in answers]
    expected = ["OK" if status == 200 else "UNDECIDED" for status in statuses]
    assert decisions == expected
    assert len({answer.headers["x-request-id"] for answer in answers}) == 40
    spared.await_health()


def test_the_spare_has_the_versions_that_were_loaded_meanwhile(spared, image):
    await_spare(spared)
    with spared.client() as client:
        assert client.post("/models/parts/1/load").status_code == 200
        spared.until(
            lambda: not spared.metric("mambaad_spare_state", state="ready"), "load in the spare"
        )
        await_spare(spared)
        loads, before = spared.metric("mambaad_model_loads_total"), takeovers(spared)
        spared.inspect(image())
        os.kill(pids(spared)[0], signal.SIGKILL)
        spared.until(lambda: takeovers(spared) == before + 1, "takeover")
        models = {f"{m['name']}/{m['version']}": m for m in client.get("/models").json()["models"]}
        assert models["parts/1"]["state"] == models["parts/2"]["state"] == "ready"
        assert spared.metric("mambaad_model_loads_total") == loads
        assert client.get("/readyz").json()["spare"]["state"] in ("waiting", "preparing", "ready")


def test_the_service_ends_without_waiting_for_the_spare(spared):
    """The last test of this module, since it ends the service."""
    processes = [psutil.Process(pid) for pid in pids(spared)]
    assert spared.stop() == 0
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert spared.tracebacks() == []
