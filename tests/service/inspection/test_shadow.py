"""What a shadow scores and leaves out, and that it never delays anyone."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision, ImageSize
from service.errors import InspectionFailed, QueueFull
from service.inspection.shadow import Shadows
from service.versions.assignment import Assignment
from service.versions.registry import Registry
from service.versions.state import State
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding

ONE, TWO = CheckpointKey("parts", "1"), CheckpointKey("parts", "2")
PIXELS = np.zeros((1, 3, 64, 64), np.uint8)
SIZE = ImageSize(48, 96)


def finding(decision, score):
    return Finding(decision, score, 1.0, 0.5, (), {})


class FakeWorkers:
    """Workers that keep every job; `waiting` images wait before each of them."""

    def __init__(self, waiting=0, resident=True, error=None):
        self.waiting = waiting
        self.resident = resident
        self.error = error
        self.jobs = []

    def status(self):
        return [SimpleNamespace(waiting=self.waiting)]

    def residents(self):
        return {"cpu": {TWO: None} if self.resident else {}}

    def submit(self, job):
        if self.error:
            raise self.error
        self.jobs.append(job)


@pytest.fixture(scope="module")
def store(tmp_path_factory, save):
    root = tmp_path_factory.mktemp("shadow") / "weights"
    for threshold in (0.1, 0.2):
        save(root, "parts", {"bolt": threshold})
    return root


@pytest.fixture
def route(store, metrics):
    state = State().with_route("bolt", Assignment(stable=ONE, shadow=TWO))
    return Registry(Store(store), metrics, state).find("bolt")


@pytest.fixture
def compare(route, metrics):
    """Offer images to a shadow, answer its jobs, and return the comparison."""

    def run(workers, given, answers, max_waiting=4):
        async def scenario():
            shadows = Shadows(workers, metrics, max_waiting, timeout_s=5.0)
            for answered in given:
                shadows.offer(route, PIXELS, SIZE, answered)
            await asyncio.sleep(0)
            for job, answer in zip(workers.jobs, answers, strict=True):
                if isinstance(answer, Exception):
                    job.fail(answer)
                else:
                    job.future.set_result(answer)
            for _ in range(3):
                await asyncio.sleep(0)
            await shadows.close()
            (comparison,) = shadows
            return comparison

        return asyncio.run(scenario())

    return run


def test_it_is_asked_as_what_answers_but_by_its_own_threshold(compare):
    workers = FakeWorkers()
    comparison = compare(workers, [finding(Decision.OK, 0.2)], [finding(Decision.OK, 0.3)])
    (job,) = workers.jobs
    assert (job.checkpoint, job.priority) == (TWO, Priority.NORMAL)
    assert (job.item.calibration.image_threshold, job.item.wants_map) == (0.2, False)
    assert (comparison.answered_by, comparison.shadow, comparison.compared) == (ONE, TWO, 1)


def test_differences_are_summed_up_and_counted(compare, metrics):
    given = [finding(Decision.OK, 0.2), finding(Decision.OK, 0.4), finding(Decision.NG, 0.6)]
    answers = [finding(Decision.OK, 0.25), finding(Decision.NG, 0.55), finding(Decision.OK, 0.45)]
    comparison = compare(FakeWorkers(), given, answers)
    assert dict(comparison.changes) == {("OK", "NG"): 1, ("NG", "OK"): 1}
    assert dict(comparison.agreements) == {"OK": 1}
    assert comparison.mean_difference == pytest.approx(0.35 / 3)
    assert comparison.largest_difference == pytest.approx(0.15)
    sample = metrics.registry.get_sample_value
    labels = {"category": "bolt", "outcome": "differs"}
    assert sample("mambaad_shadow_inspections_total", labels) == 2
    assert sample("mambaad_shadow_score_difference_count", {"category": "bolt"}) == 3


@pytest.mark.parametrize(
    "workers", [FakeWorkers(waiting=4), FakeWorkers(resident=False)], ids=["busy", "evicted"]
)
def test_it_is_left_out_first(compare, workers):
    comparison = compare(workers, [finding(Decision.OK, 0.2)], [])
    assert (comparison.left_out, comparison.compared, workers.jobs) == (1, 0, [])


def test_its_own_images_count_as_waiting(compare):
    given = [finding(Decision.OK, 0.2)] * 5
    comparison = compare(FakeWorkers(), given, [finding(Decision.OK, 0.2)] * 2, max_waiting=2)
    assert (comparison.compared, comparison.left_out) == (2, 3)


def test_what_it_cannot_score_is_counted_and_told_to_nobody(compare):
    given = [finding(Decision.OK, 0.2)]
    assert compare(FakeWorkers(), given, [InspectionFailed("broken")]).failed == 1
    assert compare(FakeWorkers(error=QueueFull("full")), given, []).failed == 1


def test_without_a_shadow_there_is_nothing_to_do(route, metrics):
    async def scenario():
        shadows = Shadows(FakeWorkers(), metrics, 4, timeout_s=5.0)
        shadows.offer(replace(route, shadow=None), PIXELS, SIZE, finding(Decision.OK, 0.1))
        return list(shadows)

    assert asyncio.run(scenario()) == []
