from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.station.cameras.checking import ImageChecker, Picture
from service.station.machine.verdicts import Reason
from service.station.settings import CameraSettings


def settings(**changes):
    return CameraSettings.model_validate({"folder": {"path": "shots"}, **changes})


def encoded(pixels, kind="PNG"):
    content = BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def noise(seed, brightest=255):
    return np.random.default_rng(seed).integers(0, brightest, (60, 80), dtype=np.uint8)


def test_images_that_differ_are_usable():
    checker = ImageChecker(settings())
    assert [checker.check(encoded(noise(seed))) for seed in range(3)] == [Reason.NONE] * 3


def test_the_same_pixels_twice_are_a_frozen_camera_whatever_the_file():
    checker = ImageChecker(settings())
    assert checker.check(encoded(noise(1))) is Reason.NONE
    assert checker.check(encoded(noise(1), "BMP")) is Reason.IMAGE_FROZEN
    assert checker.check(encoded(noise(1))) is Reason.IMAGE_FROZEN
    assert checker.check(encoded(noise(2))) is Reason.NONE


def test_frozen_images_are_allowed_by_a_setting():
    checker = ImageChecker(settings(frozen_check=False))
    assert [checker.check(encoded(noise(1))) for _ in range(2)] == [Reason.NONE] * 2


def test_a_black_image_stays_black_with_a_few_bright_pixels():
    dark = noise(1, brightest=4)
    dark[0, :3] = 255
    assert ImageChecker(settings()).check(encoded(dark)) is Reason.IMAGE_BLACK
    dark[:3] = 255
    assert ImageChecker(settings()).check(encoded(dark)) is Reason.NONE


def test_black_images_are_allowed_by_a_setting():
    black = encoded(np.zeros((60, 80), np.uint8))
    assert ImageChecker(settings(black_below=0)).check(black) is Reason.NONE


@pytest.mark.parametrize("content", [b"", b"text", encoded(noise(1))[:500]])
def test_a_file_that_is_no_image_or_cut_off_is_unreadable(content):
    assert ImageChecker(settings()).check(content) is Reason.IMAGE_UNREADABLE


def test_an_image_of_another_size_than_the_first_has_its_reason():
    checker = ImageChecker(settings())
    assert checker.check(encoded(noise(1))) is Reason.NONE
    assert checker.check(encoded(noise(2)[:, :-1])) is Reason.IMAGE_SIZE
    assert checker.check(encoded(noise(3))) is Reason.NONE


def test_an_image_of_another_size_than_the_settings_say_has_its_reason():
    checker = ImageChecker(settings(size=[80, 60]))
    assert checker.check(encoded(noise(1)[:-1])) is Reason.IMAGE_SIZE
    assert checker.check(encoded(noise(2))) is Reason.NONE


def test_black_images_are_black_although_each_equals_the_one_before():
    checker = ImageChecker(settings())
    black = encoded(np.zeros((60, 80), np.uint8))
    assert [checker.check(black) for _ in range(3)] == [Reason.IMAGE_BLACK] * 3


def test_a_picture_tells_its_size_format_and_brightness():
    picture = Picture.of(encoded(np.full((60, 80), 93, np.uint8)))
    assert picture == Picture("PNG", 80, 60, 93.0)
