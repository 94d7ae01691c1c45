"""Workers leave a drained node when others are ready, and no job is on them."""

import time

import pytest

from service.cluster.messages import JobCounts, WorkerReport
from service.workers.protocol import WorkerState

pytest.importorskip("ray")

from service.cluster.remote.draining import Leaving


def report(node_id: str, jobs: int = 0, state: WorkerState = WorkerState.READY) -> WorkerReport:
    counts = {"service": JobCounts({"parts/1": jobs})}
    return WorkerReport("1", node_id, state, "", has_begun=True, counts=counts)


def test_a_worker_leaves_once_all_have_heard_and_its_jobs_are_done():
    leaving = Leaving()
    reports = {"cpu/0": report("a", jobs=1), "cpu/1": report("b")}
    leaving.look(reports, [])
    assert leaving.names == ()
    leaving.look(reports, ["a"])
    assert leaving.names == ("cpu/0",)
    later = time.monotonic() + 5
    assert leaving.done(reports, later) == []
    reports["cpu/0"] = report("a")
    leaving.look(reports, ["a"])
    assert leaving.done(reports, time.monotonic()) == []
    assert leaving.done(reports, later) == ["cpu/0"]
    reports["cpu/0"] = report("b")
    leaving.look(reports, ["a"])
    assert leaving.names == ()


@pytest.mark.parametrize(
    "other",
    [report("a"), report("b", state=WorkerState.STARTING), None],
    ids=["leaves too", "is not ready", "does not answer"],
)
def test_no_worker_leaves_while_no_other_is_ready(other):
    leaving = Leaving()
    reports = {"cpu/0": report("a")} | ({"cpu/1": other} if other else {})
    leaving.look(reports, ["a"])
    assert leaving.names == ()
