"""One image's way, where the workers are made to misbehave."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image

from model.inspection import ImageSize
from model.store import Store
from service.decoding import ImageLimits
from service.drift import DriftMonitor
from service.errors import DeadlineExceeded, ImageTooLarge, QueueFull
from service.jobs import Priority
from service.options import InspectOptions
from service.pictures import HeatmapKind
from service.pipeline import Pipeline
from service.preparing import Preparer
from service.record import Record
from service.registry import Registry
from service.sources import Upload


class SilentWorkers:
    """Workers that take every job and answer none."""

    def __init__(self):
        self.jobs = []

    def admit(self, checkpoint, deadline, priority, nbytes):
        pass

    def submit(self, job):
        self.jobs.append(job)


class BrokenWorkers(SilentWorkers):
    def submit(self, job):
        raise RuntimeError("a mistake of ours")


@pytest.fixture
def route(metrics, weights):
    return Registry(Store(weights), metrics).find("bolt")


@contextmanager
def pipeline(workers, metrics, *, timeout_s=30.0, max_preparing=4, **more):
    with ThreadPoolExecutor(2) as threads:
        yield Pipeline(
            workers,
            threads,
            ImageLimits(10**6, 10**6),
            max_preparing=max_preparing,
            timeout_s=timeout_s,
            record=Record(metrics, DriftMonitor(metrics)),
            **more,
        )


def test_what_is_late_is_answered_and_its_job_dropped(route, metrics, image):
    workers = SilentWorkers()

    async def scenario():
        late = pytest.raises(DeadlineExceeded, match=r"0\.3 s")
        with pipeline(workers, metrics, timeout_s=0.3) as line, late:
            await line.inspect(route, Upload("x", image()), InspectOptions())

    asyncio.run(scenario())
    (job,) = workers.jobs
    assert job.future.cancelled()


def test_no_more_is_decoded_at_once_than_allowed(route, metrics, image):
    async def scenario():
        with pipeline(SilentWorkers(), metrics, max_preparing=2, timeout_s=1) as line:
            results = await asyncio.gather(
                *(line.attempt(route, Upload(str(i), image()), InspectOptions()) for i in range(5))
            )
        assert [type(result) for result in results] == [DeadlineExceeded] * 2 + [QueueFull] * 3

    asyncio.run(scenario())


def test_a_mistake_of_ours_is_returned_and_logged(route, metrics, image, caplog):
    async def scenario():
        with pipeline(BrokenWorkers(), metrics) as line:
            return await line.attempt(route, Upload("x", image()), InspectOptions())

    result = asyncio.run(scenario())
    assert isinstance(result, RuntimeError)
    assert "a mistake of ours" in caplog.text
    labels = {"problem": "internal-error"}
    assert metrics.registry.get_sample_value("mambaad_image_errors_total", labels) == 1


def test_a_client_can_only_shorten_the_time(route, metrics, image):
    async def scenario(timeout_s, received_ago_s=0.0):
        loop = asyncio.get_running_loop()
        workers = SilentWorkers()
        options = InspectOptions(timeout_s=timeout_s, received_at=loop.time() - received_ago_s)
        with pipeline(workers, metrics, timeout_s=0.4) as line, pytest.raises(DeadlineExceeded):
            await line.inspect(route, Upload("x", image()), options)
        return [job.deadline - options.received_at for job in workers.jobs]

    assert asyncio.run(scenario(0.3)) == pytest.approx([0.3])
    assert asyncio.run(scenario(9.0)) == pytest.approx([0.4])
    assert asyncio.run(scenario(0.3, received_ago_s=10.0)) == []


def test_a_decoded_image_is_inspected_too(route, metrics):
    async def scenario():
        workers = SilentWorkers()
        options = InspectOptions(priority=Priority.HIGH)
        with pipeline(workers, metrics) as line:
            too_large = await line.attempt(route, Image.new("RGB", (1001, 1000)), options)
            inspecting = asyncio.create_task(
                line.inspect(route, Image.new("L", (30, 20), 7), options)
            )
            while not workers.jobs:
                await asyncio.sleep(0.01)
            inspecting.cancel()
        return too_large, workers.jobs

    too_large, (job,) = asyncio.run(scenario())
    assert isinstance(too_large, ImageTooLarge)
    assert (job.priority, job.item.image_size) == (Priority.HIGH, ImageSize(20, 30))
    assert (job.pixels == 7).all()


def test_a_place_is_free_only_when_its_thread_is(route, metrics, image, monkeypatch):
    going_on = threading.Event()
    monkeypatch.setattr(Preparer, "prepare", lambda *_: going_on.wait(10))

    async def scenario():
        with pipeline(SilentWorkers(), metrics, max_preparing=1) as line:
            brief = InspectOptions(timeout_s=0.05)
            first = await line.attempt(route, Upload("x", image()), brief)
            second = await line.attempt(route, Upload("y", image()), brief)
            going_on.set()
            await asyncio.sleep(0.1)
            third = await line.attempt(route, Upload("z", image()), InspectOptions())
        return [type(result) for result in (first, second, third)]

    assert asyncio.run(scenario()) == [DeadlineExceeded, QueueFull, AttributeError]


def test_overlays_hold_their_room_until_they_are_drawn(route, metrics, image):
    overlay = InspectOptions(heatmap=HeatmapKind.OVERLAY, timeout_s=0.5)
    workers = SilentWorkers()

    async def scenario():
        with pipeline(workers, metrics, max_decoded_bytes=2 * 4 * 96 * 48) as line:
            uploads = [Upload(str(i), image()) for i in range(3)]
            results = await asyncio.gather(*(line.attempt(route, u, overlay) for u in uploads))
            later = await line.attempt(route, uploads[0], replace(overlay, timeout_s=0.1))
        return sorted(type(result).__name__ for result in results), type(later)

    kinds, later = asyncio.run(scenario())
    assert kinds == ["DeadlineExceeded", "DeadlineExceeded", "QueueFull"]
    assert later is DeadlineExceeded  # the room of those that were given up is there again


def test_the_patient_wait_for_room(route, metrics, image):
    overlay = InspectOptions(heatmap=HeatmapKind.OVERLAY, timeout_s=0.3, patient=True)

    async def scenario():
        with pipeline(SilentWorkers(), metrics, max_decoded_bytes=1) as line:
            sources = [Upload(str(i), image()) for i in range(2)]
            return await asyncio.gather(*(line.attempt(route, s, overlay) for s in sources))

    assert {type(result) for result in asyncio.run(scenario())} == {DeadlineExceeded}
