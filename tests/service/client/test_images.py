"""Pictures in memory become files with the same meaning for the service's decoder."""

import numpy as np
import pytest
from PIL import Image

from model.images.decoding import OWN_FILES, decode
from model.images.preprocess import upright
from service.client.images import read_images

PART = np.random.default_rng(2).integers(0, 256, (12, 10, 3)).astype(np.uint8)


def seen(image: object) -> np.ndarray:
    (file,) = read_images(image)
    return np.asarray(upright(decode(file.content, OWN_FILES)))


@pytest.mark.parametrize("alpha", [0, 255, 100])
def test_the_fourth_channel_of_an_array_hides_no_part(alpha):
    array = np.dstack([PART, np.full(PART.shape[:2], alpha, np.uint8)])
    right = PART if alpha == 0 else np.round(PART.astype(float) * alpha / 255)
    assert np.array_equal(seen(array), right)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_keep_their_high_bytes(mode):
    deep = PART[..., 0].astype(np.uint16) << 8
    stored = deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = Image.frombytes(mode, (10, 12), stored)
    assert image.mode == mode
    assert np.array_equal(seen(image), PART[..., 0])


def test_a_palette_with_alpha_keeps_it():
    image = Image.fromarray(PART).quantize(16).convert("PA")
    image.putalpha(Image.new("L", image.size, 100))
    right = np.round(np.asarray(image.convert("RGB")).astype(float) * 100 / 255)
    assert np.array_equal(seen(image), right)
