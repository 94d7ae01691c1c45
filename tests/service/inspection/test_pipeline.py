"""The way of one image, with misbehaving workers."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.checkpoints.store import Store
from model.images.headers.declared import COLOUR_BYTES, Declared
from model.inspection import Decision, ImageSize
from service.errors import (
    BodiesFull,
    DeadlineExceeded,
    ImageTooLarge,
    InspectionFailed,
    QueueFull,
)
from service.inspection.drift import DriftMonitor
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.inputs import Order
from service.inspection.images.pictures import HeatmapKind
from service.inspection.images.preparing import Preparer
from service.inspection.images.sources import Upload
from service.inspection.observers import LogObserver, MetricsObserver, Observer, Observers
from service.inspection.options import InspectOptions
from service.inspection.pipeline import Pipeline
from service.versions.registry import Registry
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding


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
def pipeline(workers, metrics, *others, timeout_s=30.0, max_preparing=4, max_decoded_bytes=2**30):
    observers = [MetricsObserver(metrics), DriftMonitor(metrics), LogObserver(), *others]
    with ThreadPoolExecutor(1) as threads:
        yield Pipeline(
            workers,
            threads,
            Preparer(ImageLimits(10**6, 10**6), max_decoded_bytes),
            Observers(observers, metrics),
            max_preparing=max_preparing,
            timeout_s=timeout_s,
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
    # One at its peak fits beside one that is kept, 4 bytes a pixel, but not beside two.
    declared = Declared(width=96, height=48, peak_bytes_per_pixel=COLOUR_BYTES, seconds=0)
    peak = Order(route.preprocessing).peak_bytes(declared)

    async def scenario():
        with pipeline(workers, metrics, max_decoded_bytes=peak + 25_000) as line:
            uploads = [Upload(str(i), image()) for i in range(3)]
            results = await asyncio.gather(*(line.attempt(route, u, overlay) for u in uploads))
            later = await line.attempt(route, uploads[0], replace(overlay, timeout_s=0.1))
        return sorted(type(result).__name__ for result in results), type(later)

    kinds, later = asyncio.run(scenario())
    assert kinds == ["DeadlineExceeded", "DeadlineExceeded", "QueueFull"]
    assert later is DeadlineExceeded  # the room of the abandoned images is free again


def test_the_patient_wait_for_room(route, metrics, image):
    overlay = InspectOptions(heatmap=HeatmapKind.OVERLAY, timeout_s=0.3, patient=True)

    async def scenario():
        with pipeline(SilentWorkers(), metrics, max_decoded_bytes=1) as line:
            sources = [Upload(str(i), image()) for i in range(2)]
            return await asyncio.gather(*(line.attempt(route, s, overlay) for s in sources))

    assert {type(result) for result in asyncio.run(scenario())} == {DeadlineExceeded}


class AnsweringWorkers(SilentWorkers):
    """Workers that give the same finding for every image, at once."""

    def submit(self, job):
        job.taken_at = job.queued_at
        scores = np.zeros((64, 64), np.float32) if job.item.wants_map else None
        job.future.set_result(Finding(Decision.OK, 0.1, 0.1, 0.5, (), {}, scores))


class Witness(Observer):
    """Records its events."""

    name = "witness"

    def __init__(self, *, required=False, error=None):
        self.required = required
        self.error = error
        self.events = []

    async def inspected(self, inspected, prepared):
        self.events.append((inspected.finding.decision, inspected.picture, prepared.size))
        if self.error:
            raise self.error

    async def failed(self, route, error, part):
        self.events.append(type(error))


def decisions(metrics):
    sample = metrics.registry.get_sample_value
    names = ("OK", "UNDECIDED")
    labels = ({"category": "bolt", "decision": name} for name in names)
    return [sample("mambaad_decisions_total", labelled) or 0 for labelled in labels]


def test_the_answers_memory_is_reserved_before_anyone_is_told(route, metrics, image):
    """Otherwise the part would be recorded as OK while the line gets 503."""
    reserved = []

    def refuse(nbytes):
        reserved.append(nbytes)
        raise BodiesFull("no room for the answer")

    async def scenario(hold):
        witness = Witness()
        options = InspectOptions(heatmap=HeatmapKind.MAP, hold_answer=hold)
        with pipeline(AnsweringWorkers(), metrics, witness) as line:
            return await line.attempt(route, Upload("x", image()), options), witness.events

    answer, events = asyncio.run(scenario(refuse))
    assert isinstance(answer, BodiesFull)
    assert events == [BodiesFull]
    assert decisions(metrics) == [0, 1]
    answer, events = asyncio.run(scenario(reserved.append))
    assert reserved == [len(answer.picture)] * 2
    assert events == [(Decision.OK, answer.picture, (96, 48))]
    assert decisions(metrics) == [1, 1]


def test_a_part_that_a_required_observer_cannot_note_is_undecided(route, metrics, image):
    async def scenario(*, required):
        witness = Witness(required=required, error=OSError("no space"))
        with pipeline(AnsweringWorkers(), metrics, witness) as line:
            return await line.attempt(route, Upload("x", image()), InspectOptions()), witness.events

    answer, events = asyncio.run(scenario(required=True))
    assert isinstance(answer, InspectionFailed)
    assert events == [(Decision.OK, None, (96, 48)), InspectionFailed]
    assert decisions(metrics) == [0, 1]
    answer, events = asyncio.run(scenario(required=False))
    assert answer.finding.decision is Decision.OK
    assert events == [(Decision.OK, None, (96, 48))]
    assert decisions(metrics) == [1, 1]


def test_the_map_is_in_the_result_where_it_is_asked_for_and_else_let_go(route, metrics, image):
    async def scenario(**options):
        with pipeline(AnsweringWorkers(), metrics) as line:
            return await line.inspect(route, Upload("x", image()), InspectOptions(**options))

    drawn = asyncio.run(scenario(heatmap=HeatmapKind.MAP))
    assert (drawn.picture is not None, drawn.finding.pixel_scores) == (True, None)
    both = asyncio.run(scenario(heatmap=HeatmapKind.MAP, anomaly_map=True))
    assert both.picture == drawn.picture
    assert both.finding.pixel_scores.shape == (64, 64)
    alone = asyncio.run(scenario(anomaly_map=True))
    assert (alone.picture, alone.finding.pixel_scores.shape) == (None, (64, 64))


def test_a_door_may_draw_a_picture_of_its_own(route, metrics, image):
    def draw(finding, size):
        return f"{finding.decision} {finding.pixel_scores.shape} {size}"

    async def scenario():
        options = InspectOptions(draw=draw)
        with pipeline(AnsweringWorkers(), metrics) as line:
            return await line.inspect(route, Upload("x", image()), options)

    drawn = asyncio.run(scenario())
    assert drawn.picture == "OK (64, 64) (96, 48)"
    assert "heatmap" in drawn.timings_ms
