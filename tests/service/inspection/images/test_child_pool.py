"""Decode children answer like a thread, and end when nobody waits for them."""

import asyncio
import os
import signal
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from model.errors import ImageDamaged, ImageOverLimit
from model.images.decoding import DecodeLimits
from model.images.preprocess import Preprocessing
from service.errors import DeadlineExceeded, InspectionFailed
from service.inspection.images import child_process
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.inputs import Order, inputs_of_file
from tests.hostile_images import black_png, jpeg_of_many_scans, saved

LIMITS = DecodeLimits(50_000_000, 65_500, 20_000, 1_000_000_000)
HALF = (0.5, 0.5, 0.5)
PEAK = 2**30
SLOW = """
import sys; sys.path[:] = {path!r}
import time
from {module} import main
import {module} as child
whole = child.inputs_of_file
def slow(content, *others):
    time.sleep(60 if content.startswith(b"II") else 0)
    return whole(content, *others)
child.inputs_of_file = slow
main({descriptor})
"""
"""A child in which decoding any TIFF takes a minute."""


def rule(**options):
    return Preprocessing(image_size=(64, 64), mean=HALF, std=HALF, **options)


def noise(mode="RGB", size=(150, 90)):
    values = np.random.default_rng(0).integers(0, 2**16, (size[1], size[0], 3))
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16))
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


SLOW_FILE = saved(noise(), "TIFF")
GOOD_FILE = saved(noise(), "PNG")


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(child_process, "_PROGRAM", SLOW)


def run(scenario, most=1, **options):
    async def within():
        async with DecodeChildren(most, LIMITS, **options) as children:
            result = await scenario(children)
            pids = children.pids
        assert not any(map(psutil.pid_exists, pids))
        return result

    return asyncio.run(within())


def test_a_child_answers_as_a_thread_does():
    wanted = [
        (saved(noise(mode), "PNG"), Order(rule(resize=resize), rule(grey_bits=12), keep=True))
        for mode in ("L", "RGB", "RGBA", "P", "I;16")
        for resize in ("stretch", "letterbox", "tile")
    ]

    async def scenario(children):
        return [await children.inputs(content, order, PEAK) for content, order in wanted]

    for (content, order), inputs in zip(wanted, run(scenario), strict=True):
        _check_same(inputs, inputs_of_file(content, LIMITS, order))


def _check_same(actual, expected):
    assert actual.size == expected.size
    assert np.array_equal(actual.pixels, expected.pixels)
    assert np.array_equal(actual.shadow_pixels, expected.shadow_pixels)
    assert actual.image.mode == expected.image.mode
    assert np.array_equal(np.asarray(actual.image), np.asarray(expected.image))


def test_a_shadow_of_the_same_rule_is_sent_once():
    order = Order(rule(), rule())
    inputs = run(lambda children: children.inputs(GOOD_FILE, order, PEAK))
    assert np.array_equal(inputs.shadow_pixels, inputs.pixels)
    assert inputs.image is None


def test_a_refusal_is_the_threads_and_the_child_stays():
    async def scenario(children):
        with pytest.raises(ImageDamaged, match="truncated"):
            await children.inputs(GOOD_FILE[:2000], Order(rule()), PEAK)
        with pytest.raises(ImageOverLimit, match="2 tiles, got"):
            await children.inputs(GOOD_FILE, Order(rule(resize="tile"), max_tiles=2), PEAK)
        before = children.pids
        await children.inputs(GOOD_FILE, Order(rule()), PEAK)
        return before, children.pids

    before, after = run(scenario)
    assert before == after
    assert len(after) == 1


def test_a_child_is_killed_at_the_deadline_and_the_next_image_gets_another(slow):
    async def scenario(children):
        await children.inputs(GOOD_FILE, Order(rule()), PEAK)
        (first,) = children.pids
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await children.inputs(SLOW_FILE, Order(rule()), PEAK)
        inputs = await children.inputs(GOOD_FILE, Order(rule()), PEAK)
        took = time.monotonic() - started
        (second,) = children.pids
        assert not psutil.pid_exists(first)
        return first, second, took, inputs

    first, second, took, inputs = run(scenario)
    assert first != second
    assert took < 20
    assert inputs.size == (150, 90)


def test_an_image_may_take_so_long_and_no_longer(slow):
    async def scenario(children):
        with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
            await children.inputs(SLOW_FILE, Order(rule()), PEAK)
        return (await children.inputs(GOOD_FILE, Order(rule()), PEAK)).size

    assert run(scenario, max_decode_s=0.3) == (150, 90)


def test_who_waits_for_a_place_may_leave(slow):
    async def scenario(children):
        busy = asyncio.create_task(children.inputs(SLOW_FILE, Order(rule()), PEAK))
        await asyncio.sleep(0.2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await children.inputs(GOOD_FILE, Order(rule()), PEAK)
        busy.cancel()
        await asyncio.wait([busy])
        return await children.inputs(GOOD_FILE, Order(rule()), PEAK)

    assert run(scenario).size == (150, 90)


def test_a_child_that_dies_is_an_error_and_is_replaced(slow):
    async def scenario(children):
        await children.inputs(GOOD_FILE, Order(rule()), PEAK)
        (pid,) = children.pids
        asyncio.get_running_loop().call_later(0.2, os.kill, pid, signal.SIGSEGV)
        with pytest.raises(InspectionFailed, match="signal 11"):
            await children.inputs(SLOW_FILE, Order(rule()), PEAK)
        return await children.inputs(GOOD_FILE, Order(rule()), PEAK)

    assert run(scenario).size == (150, 90)


def test_a_child_cannot_take_more_memory_than_its_image_declares():
    async def scenario(children):
        content = black_png(20_000, 20_000, depth=1)
        with pytest.raises(ImageOverLimit, match="not enough memory"):
            await children.inputs(content, Order(rule()), 2**20)
        return await children.inputs(GOOD_FILE, Order(rule()), PEAK)

    async def within():
        limits = DecodeLimits(500_000_000, 65_500, 20_000, 1_000_000_000)
        async with DecodeChildren(1, limits) as children:
            return await scenario(children)

    assert asyncio.run(within()).size == (150, 90)


def test_several_are_decoded_at_once_and_no_more_than_there_may_be():
    content = jpeg_of_many_scans(400, 400, 50)

    async def scenario(children):
        wanted = [children.inputs(content, Order(rule()), PEAK) for _ in range(6)]
        decoded = await asyncio.gather(*wanted)
        return len(decoded), len(children.pids)

    assert run(scenario, most=2) == (6, 2)


def test_a_child_at_work_ends_with_the_service(slow):
    """The process that started it is killed, and so cannot end it."""
    child = child_process.DecodeChild(LIMITS)
    try:
        child.start()
        connection, pid = child._connection, child.pid
        child_process.send(connection, child._request(Order(rule()), PEAK), SLOW_FILE)
        time.sleep(0.2)
        connection.close()
        assert child._process.wait(20) == 1
        assert pid
    finally:
        child.close()
