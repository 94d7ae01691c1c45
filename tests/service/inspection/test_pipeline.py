"""The way of one image, with misbehaving workers."""

import asyncio
import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO

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
    QueueFull,
)
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.inputs import Order
from service.inspection.images.maps import read_map
from service.inspection.images.pictures import HeatmapKind
from service.inspection.images.preparing import Preparer
from service.inspection.images.sources import Base64Upload, Fingerprint, Upload, content_of
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
def pipeline(workers, timeout_s=30.0, max_preparing=4, max_decoded_bytes=2**30):
    with ThreadPoolExecutor(1) as threads:
        yield Pipeline(
            workers,
            threads,
            Preparer(ImageLimits(10**6, 10**6), max_decoded_bytes),
            max_preparing=max_preparing,
            timeout_s=timeout_s,
        )


def test_what_is_late_is_answered_and_its_job_dropped(route, image):
    workers = SilentWorkers()

    async def scenario():
        late = pytest.raises(DeadlineExceeded, match=r"0\.3 s")
        with pipeline(workers, timeout_s=0.3) as line, late:
            await line.inspect(route, Upload("x", image()), InspectOptions())

    asyncio.run(scenario())
    (job,) = workers.jobs
    assert job.future.cancelled()


def test_no_more_is_decoded_at_once_than_allowed(route, image):
    async def scenario():
        with pipeline(SilentWorkers(), max_preparing=2, timeout_s=1) as line:
            results = await asyncio.gather(
                *(line.attempt(route, Upload(str(i), image()), InspectOptions()) for i in range(5))
            )
        kinds = [type(attempt.result) for attempt in results]
        assert kinds == [DeadlineExceeded] * 2 + [QueueFull] * 3

    asyncio.run(scenario())


def test_a_mistake_of_ours_is_returned_with_its_traceback(route, image):
    async def scenario():
        with pipeline(BrokenWorkers()) as line:
            return (await line.attempt(route, Upload("x", image()), InspectOptions())).result

    result = asyncio.run(scenario())
    assert isinstance(result, RuntimeError)
    assert result.__traceback__ is not None


def test_a_client_can_only_shorten_the_time(route, image):
    async def scenario(timeout_s, received_ago_s=0.0):
        loop = asyncio.get_running_loop()
        workers = SilentWorkers()
        options = InspectOptions(timeout_s=timeout_s, received_at=loop.time() - received_ago_s)
        with pipeline(workers, timeout_s=0.4) as line, pytest.raises(DeadlineExceeded):
            await line.inspect(route, Upload("x", image()), options)
        return [job.deadline - options.received_at for job in workers.jobs]

    assert asyncio.run(scenario(0.3)) == pytest.approx([0.3])
    assert asyncio.run(scenario(9.0)) == pytest.approx([0.4])
    assert asyncio.run(scenario(0.3, received_ago_s=10.0)) == []


def test_a_decoded_image_is_inspected_too(route):
    async def scenario():
        workers = SilentWorkers()
        options = InspectOptions(priority=Priority.HIGH)
        with pipeline(workers) as line:
            too_large = await line.attempt(route, Image.new("RGB", (1001, 1000)), options)
            inspecting = asyncio.create_task(
                line.inspect(route, Image.new("L", (30, 20), 7), options)
            )
            while not workers.jobs:
                await asyncio.sleep(0.01)
            inspecting.cancel()
        return too_large.result, workers.jobs

    too_large, (job,) = asyncio.run(scenario())
    assert isinstance(too_large, ImageTooLarge)
    assert (job.priority, job.item.image_size) == (Priority.HIGH, ImageSize(20, 30))
    assert (job.pixels == 7).all()


def test_a_place_is_free_only_when_its_thread_is(route, image, monkeypatch):
    going_on = threading.Event()
    monkeypatch.setattr(Preparer, "prepare", lambda *_: going_on.wait(10))

    async def scenario():
        with pipeline(SilentWorkers(), max_preparing=1) as line:
            brief = InspectOptions(timeout_s=0.05)
            first = await line.attempt(route, Upload("x", image()), brief)
            second = await line.attempt(route, Upload("y", image()), brief)
            going_on.set()
            await asyncio.sleep(0.1)
            third = await line.attempt(route, Upload("z", image()), InspectOptions())
        return [type(attempt.result) for attempt in (first, second, third)]

    assert asyncio.run(scenario()) == [DeadlineExceeded, QueueFull, AttributeError]


def test_overlays_hold_their_room_until_they_are_drawn(route, image):
    overlay = InspectOptions(heatmap=HeatmapKind.OVERLAY, timeout_s=0.5)
    workers = SilentWorkers()
    # One at its peak fits beside one that is kept, 4 bytes a pixel, but not beside two.
    declared = Declared(width=96, height=48, peak_bytes_per_pixel=COLOUR_BYTES, seconds=0)
    peak = Order(route.preprocessing).peak_bytes(declared)

    async def scenario():
        with pipeline(workers, max_decoded_bytes=peak + 25_000) as line:
            uploads = [Upload(str(i), image()) for i in range(3)]
            results = await asyncio.gather(*(line.attempt(route, u, overlay) for u in uploads))
            later = await line.attempt(route, uploads[0], replace(overlay, timeout_s=0.1))
        return sorted(type(attempt.result).__name__ for attempt in results), type(later.result)

    kinds, later = asyncio.run(scenario())
    assert kinds == ["DeadlineExceeded", "DeadlineExceeded", "QueueFull"]
    assert later is DeadlineExceeded  # the room of the abandoned images is free again


def test_the_patient_wait_for_room(route, image):
    overlay = InspectOptions(heatmap=HeatmapKind.OVERLAY, timeout_s=0.3, patient=True)

    async def scenario():
        with pipeline(SilentWorkers(), max_decoded_bytes=1) as line:
            sources = [Upload(str(i), image()) for i in range(2)]
            return await asyncio.gather(*(line.attempt(route, s, overlay) for s in sources))

    assert {type(attempt.result) for attempt in asyncio.run(scenario())} == {DeadlineExceeded}


class AnsweringWorkers(SilentWorkers):
    """Workers that give the same finding for every image, at once."""

    def submit(self, job):
        job.taken_at = job.queued_at
        scores = np.zeros((64, 64), np.float32) if job.item.sends_map(Decision.OK) else None
        job.future.set_result(Finding(Decision.OK, 0.1, 0.1, 0.5, (), {}, scores))


def test_the_answers_memory_is_reserved_before_there_is_a_result(route, image):
    """Else the part would be on record as OK while the line gets 503."""
    held = []

    def refuse(nbytes):
        held.append(nbytes)
        raise BodiesFull("no room for the answer")

    async def scenario(hold):
        options = InspectOptions(heatmap=HeatmapKind.MAP, hold_answer=hold)
        with pipeline(AnsweringWorkers()) as line:
            return (await line.attempt(route, Upload("x", image()), options)).result

    assert isinstance(asyncio.run(scenario(refuse)), BodiesFull)
    answer = asyncio.run(scenario(held.append))
    assert held == [len(answer.picture)] * 2


def test_an_attempt_holds_no_pixels_but_a_shadows(route, image):
    async def scenario(route):
        options = InspectOptions(heatmap=HeatmapKind.OVERLAY)
        with pipeline(AnsweringWorkers()) as line:
            return (await line.attempt(route, Upload("x", image()), options)).prepared

    prepared = asyncio.run(scenario(route))
    assert (prepared.image, prepared.pixels.nbytes, prepared.size) == (None, 0, (96, 48))
    assert prepared.pixels.base is None
    shadowed = asyncio.run(scenario(replace(route, shadow=route)))
    assert shadowed.shadow_pixels.shape == (1, 3, 64, 64)


def test_the_map_is_made_a_file_for_the_decisions_that_keep_it(route, image):
    async def scenario(*decisions, **options):
        with pipeline(AnsweringWorkers()) as line:
            kept = InspectOptions(maps_of=frozenset(decisions), **options)
            return await line.attempt(route, Upload("x", image()), kept)

    kept = asyncio.run(scenario(Decision.OK))
    assert kept.result.finding.pixel_scores is None
    assert (read_map(kept.map_file) == np.zeros((64, 64), np.float32)).all()
    assert asyncio.run(scenario(Decision.NG)).map_file is None
    asked = asyncio.run(scenario(Decision.NG, anomaly_map=True))
    assert (asked.map_file, asked.result.finding.pixel_scores.shape) == (None, (64, 64))


@pytest.mark.parametrize("kind", ["file", "base64", "tensor"])
def test_a_fingerprint_is_of_the_file(route, image, kind):
    content = image()
    pixels = Image.new("RGB", (30, 20), (7, 8, 9))
    source = {
        "file": Upload("x", content),
        "base64": Base64Upload("x", base64.b64encode(content)),
        "tensor": pixels,
    }[kind]

    async def scenario(**options):
        with pipeline(AnsweringWorkers()) as line:
            return (await line.attempt(route, source, InspectOptions(**options))).fingerprint

    found = asyncio.run(scenario(fingerprints=True))
    file = content_of(source)
    assert found == Fingerprint(hashlib.sha256(file).hexdigest(), len(file))
    assert kind == "tensor" or file == content
    with Image.open(BytesIO(file)) as stored:
        assert kind != "tensor" or (np.asarray(stored) == np.asarray(pixels)).all()
    assert asyncio.run(scenario()) is None


def test_the_map_is_in_the_result_where_it_is_asked_for_and_else_let_go(route, image):
    async def scenario(**options):
        with pipeline(AnsweringWorkers()) as line:
            attempt = await line.inspect(route, Upload("x", image()), InspectOptions(**options))
            return attempt.result

    drawn = asyncio.run(scenario(heatmap=HeatmapKind.MAP))
    assert (drawn.picture is not None, drawn.finding.pixel_scores) == (True, None)
    both = asyncio.run(scenario(heatmap=HeatmapKind.MAP, anomaly_map=True))
    assert both.picture == drawn.picture
    assert both.finding.pixel_scores.shape == (64, 64)
    alone = asyncio.run(scenario(anomaly_map=True))
    assert (alone.picture, alone.finding.pixel_scores.shape) == (None, (64, 64))


def test_a_door_may_draw_a_picture_of_its_own(route, image):
    def draw(finding, size):
        return f"{finding.decision} {finding.pixel_scores.shape} {size}"

    async def scenario():
        options = InspectOptions(draw=draw)
        with pipeline(AnsweringWorkers()) as line:
            return await line.inspect(route, Upload("x", image()), options)

    drawn = asyncio.run(scenario())
    assert drawn.result.picture == "OK (64, 64) (96, 48)"
    assert "heatmap" in drawn.result.timings_ms
