"""Files of anomaly maps and of pixels, read back by Pillow."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.scoring import rendering
from service.inspection.images.maps import read_map, write_map
from service.inspection.images.png import STORED, write_png

DICE = np.random.default_rng(0)


@pytest.mark.parametrize("level", [STORED, 1, 9])
@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (DICE.integers(0, 256, (5, 7), dtype=np.uint8), "L"),
        (DICE.integers(0, 65536, (5, 7), dtype=np.uint16), "I;16"),
        (DICE.integers(0, 256, (5, 7, 3), dtype=np.uint8), "RGB"),
        (DICE.integers(0, 256, (1, 1, 3), dtype=np.uint8), "RGB"),
        (DICE.integers(0, 256, (7, 5, 3), dtype=np.uint8)[::2, ::-1], "RGB"),
    ],
    ids=["grey", "16 bits", "colour", "one pixel", "not contiguous"],
)
def test_pixels_come_back_as_they_were(pixels, mode, level):
    with Image.open(BytesIO(write_png(pixels, level))) as image:
        assert (image.format, image.mode) == ("PNG", mode)
        assert (np.asarray(image) == pixels).all()


def test_a_map_comes_back_and_no_pixel_changes_its_side_of_the_threshold():
    near = np.nextafter(np.float32(0.5), np.float32([0, 1])).tolist()
    scores = np.float32([[0, 1, 0.5, *near], [0.25, 0.75, 0.1, 0.5001, 0.4999]])
    stored = read_map(write_map(scores))
    np.testing.assert_allclose(stored, scores, atol=1 / 65535)
    assert ((stored > 0.5) == (scores > 0.5)).all()
    size = (50, 20)
    assert rendering.mask(stored, (5, 2)).tobytes() == rendering.mask(scores, (5, 2)).tobytes()
    assert (
        np.abs(rendering.levels(stored, size).astype(int) - rendering.levels(scores, size)).max()
        <= 1
    )
