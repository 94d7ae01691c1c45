"""Images on their way to the network: by the route's rule, and by its shadow's."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.checkpoints.store import Store
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from service.errors import ImageTooLarge, UndecodableImage
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Preparer
from service.inspection.images.sources import Upload
from service.versions.registry import Registry

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
    found = preparer.prepare(route, sent(image) if encoded else image, keep=False)
    assert np.array_equal(found.pixels, route.preprocessing.to_arrays(image))
    assert (found.size, found.image_size) == ((96, 48), ImageSize(48, 96))
    assert found.map_size == route.preprocessing.frame(ImageSize(48, 96)).map_size
    assert found.image is None
    assert found.timings_ms.keys() == {"decode", "preprocess"}


def test_sixteen_bit_grey_is_read_by_the_checkpoints_rule(preparer, route):
    image = noise(dtype=np.uint16)
    for bits in (12, 16):
        route = replace(route, preprocessing=rule(grey_bits=bits))
        found = preparer.prepare(route, sent(image), keep=True)
        assert np.array_equal(found.pixels, route.preprocessing.to_arrays(image))
        assert np.asarray(found.image).max() == (255 if bits == 12 else 15)


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
    theirs = Preprocessing(**{"image_size": (64, 64), "mean": HALF, "std": HALF} | other)
    shadow = replace(route, preprocessing=theirs)
    route = replace(route, preprocessing=rule(), shadow=shadow)
    found = preparer.prepare(route, sent(image), keep=False)
    assert np.array_equal(found.shadow_pixels, theirs.to_arrays(image))
    assert np.array_equal(found.pixels, route.preprocessing.to_arrays(image))


def test_a_shadow_of_the_same_rule_gets_the_same_pixels(preparer, route):
    shadow = replace(route, preprocessing=replace(route.preprocessing, mean=HALF))
    found = preparer.prepare(replace(route, shadow=shadow), noise(), keep=False)
    assert found.shadow_pixels is found.pixels


def test_a_shadow_that_cannot_take_an_image_keeps_nobody_from_inspecting_it(preparer, route):
    shadow = replace(route, preprocessing=rule(resize="tile"))
    route = replace(route, preprocessing=rule(), shadow=shadow)
    found = preparer.prepare(route, noise((200, 100)), keep=False)
    assert found.shadow_pixels is None
    assert len(found.pixels) == 1
