"""Images are prepared for the network by the rules of the route and of its shadow."""

import asyncio
import time
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from model.checkpoints.store import Store
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from service.errors import ImageTooLarge, QueueFull, ServiceError, UndecodableImage
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.memory import DecodeMemory
from service.inspection.images.preparing import CostlyImage, Preparer
from service.inspection.images.sources import Upload
from service.versions.registry import Registry
from tests import hostile_images as hostile

HALF = (0.5, 0.5, 0.5)


def rule(**options):
    return Preprocessing(image_size=(64, 64), mean=HALF, std=HALF, **options)


@pytest.fixture
def route(metrics, weights):
    return Registry(Store(weights), metrics).find("bolt")


@pytest.fixture
def preparer():
    return Preparer(ImageLimits(10**6, 10**6, max_tiles=6), 10**7)


def sent(image):
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return Upload(None, buffer.getvalue())


def noise(size=(96, 48), dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 4096, size[::-1]).astype(dtype)
    return Image.fromarray(values)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
@pytest.mark.parametrize("encoded", [True, False])
def test_an_image_is_framed_as_in_training(preparer, route, resize, encoded):
    image = noise()
    route = replace(route, preprocessing=rule(resize=resize))
    prepared = preparer.prepare(route, sent(image) if encoded else image, keep=False)
    assert np.array_equal(prepared.pixels, route.preprocessing.to_arrays(image))
    assert (prepared.size, prepared.image_size) == ((96, 48), ImageSize(48, 96))
    assert prepared.map_size == route.preprocessing.frame(ImageSize(48, 96)).map_size
    assert prepared.image is None
    assert prepared.timings_ms.keys() == {"decode", "preprocess"}


def test_sixteen_bit_grey_is_read_by_the_checkpoints_rule(preparer, route):
    image = noise(dtype=np.uint16)
    for bits in (12, 16):
        route = replace(route, preprocessing=rule(grey_bits=bits))
        prepared = preparer.prepare(route, sent(image), keep=True)
        assert np.array_equal(prepared.pixels, route.preprocessing.to_arrays(image))
        assert np.asarray(prepared.image).max() == (255 if bits == 12 else 15)


def test_too_many_tiles_are_refused_before_any_is_cut(preparer, route):
    route = replace(route, preprocessing=rule(resize="tile"))
    assert len(preparer.prepare(route, noise((160, 100)), keep=False).pixels) == 6
    with pytest.raises(ImageTooLarge, match="6 tiles, got 8"):
        preparer.prepare(route, noise((200, 100)), keep=False)


def test_what_cannot_be_used_is_refused(preparer, route):
    with pytest.raises(UndecodableImage, match="value range"):
        preparer.prepare(route, Image.new("F", (8, 8)), keep=False)


@pytest.mark.parametrize(
    "other",
    [{"image_size": (32, 40)}, {"resize": "letterbox"}, {"resize": "tile"}, {"grey_bits": 12}],
)
def test_a_shadow_of_another_rule_gets_the_image_by_its_own(preparer, route, other):
    image = noise(dtype=np.uint16)
    shadow_rule = Preprocessing(**{"image_size": (64, 64), "mean": HALF, "std": HALF} | other)
    shadow = replace(route, preprocessing=shadow_rule)
    route = replace(route, preprocessing=rule(), shadow=shadow)
    prepared = preparer.prepare(route, sent(image), keep=False)
    assert np.array_equal(prepared.shadow_pixels, shadow_rule.to_arrays(image))
    assert np.array_equal(prepared.pixels, route.preprocessing.to_arrays(image))


def test_a_shadow_of_the_same_rule_gets_the_same_pixels(preparer, route):
    shadow = replace(route, preprocessing=replace(route.preprocessing, mean=HALF))
    prepared = preparer.prepare(replace(route, shadow=shadow), noise(), keep=False)
    assert prepared.shadow_pixels is prepared.pixels


def test_a_shadow_that_cannot_take_an_image_keeps_nobody_from_inspecting_it(preparer, route):
    shadow = replace(route, preprocessing=rule(resize="tile"))
    route = replace(route, preprocessing=rule(), shadow=shadow)
    prepared = preparer.prepare(route, noise((200, 100)), keep=False)
    assert prepared.shadow_pixels is None
    assert len(prepared.pixels) == 1


LARGE = ImageLimits(32 * 2**20, 50_000_000)


def test_a_large_image_takes_no_thread(route):
    """Nor does an image whose header shows that it is slow; a child gives the same results."""
    slow = hostile.jpeg_of_many_scans(1_500, 1_500, 400)
    large = hostile.black_png(4_000, 2_001)
    small = hostile.black_png(4_000, 1_999)

    async def scenario():
        async with DecodeChildren(1, LARGE.decoding) as children:
            preparer = Preparer(LARGE, 2**30, children)
            assert not isinstance(preparer.prepare(route, Upload(None, small), False), CostlyImage)
            prepared = []
            for content in (large, slow):
                costly = preparer.prepare(route, Upload(None, content), keep=True)
                assert isinstance(costly, CostlyImage)
                prepared.append(await preparer.prepare_apart(costly))
        return prepared

    for content, apart in zip((large, slow), asyncio.run(scenario()), strict=True):
        here = Preparer(LARGE).prepare(route, Upload(None, content), keep=True)
        assert (apart.size, apart.map_size) == (here.size, here.map_size)
        assert np.array_equal(apart.pixels, here.pixels)
        assert np.array_equal(np.asarray(apart.image), np.asarray(here.image))


def test_large_images_wait_for_each_others_room(route):
    upload = Upload(None, hostile.black_png(4_000, 2_001))

    async def scenario():
        async with DecodeChildren(2, LARGE.decoding) as children:
            preparer = Preparer(LARGE, 1, children)  # room for one
            first, second = (preparer.prepare(route, upload, keep=True) for _ in range(2))
            first_prepared = await preparer.prepare_apart(first)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await preparer.prepare_apart(second)
            assert first_prepared.image is not None
            del first_prepared
            return await preparer.prepare_apart(second)

    assert asyncio.run(scenario()).size == (4_000, 2_001)


def test_room_is_taken_for_the_peak_and_kept_for_what_stays():
    memory = DecodeMemory(1_000)
    with memory.reserved(900) as images:
        assert memory.reserved_bytes == 900
        with pytest.raises(QueueFull), memory.reserved(200):
            pass
        images.append(Image.new("L", (10, 10)))
    assert memory.reserved_bytes == 100
    assert memory.fits(900)
    assert not memory.fits(901)
    images.clear()
    assert memory.reserved_bytes == 0
    assert memory.fits(5_000)  # alone


@pytest.mark.parametrize("resize", ["stretch", "tile"])
def test_tiles_are_counted_before_a_pixel_is_decoded(route, resize):
    route = replace(route, preprocessing=rule(resize=resize))
    hollow = hostile.png(hostile.png_header(3_000, 3_000), (b"IDAT", b""))
    with pytest.raises(ImageTooLarge if resize == "tile" else UndecodableImage):
        Preparer(LARGE).prepare(route, Upload(None, hollow), keep=False)


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(hostile.hostile_images())
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage
def test_whatever_is_posted_is_prepared_or_refused_within_a_budget(route, content):
    started = time.process_time()
    try:
        prepared = Preparer(LARGE).prepare(route, Upload(None, content), keep=True)
        assert prepared.pixels.shape == (1, 3, 64, 64)
    except ServiceError as error:
        assert len(str(error)) > 20
    assert time.process_time() - started < 5
