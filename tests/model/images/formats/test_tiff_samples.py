"""TIFF by layout: the right high bytes, or the reason. tifffile says which samples are right."""

import itertools

import numpy as np
import pytest

from model.images.decoding import OWN_FILES, decode
from model.images.preprocess import upright
from tests.tiff_files import COMPRESSIONS, read_back, write_tiff

GREY_INVERTED, GREY, RGB = 0, 1, 2
IGNORED, PREMULTIPLIED, ALPHA = 0, 1, 2
DICE = np.random.default_rng(5)
HEIGHT, WIDTH = 19, 45


def noise(samples: int, bits: int) -> np.ndarray:
    kind = np.uint8 if bits <= 8 else np.uint16
    return DICE.integers(0, 2**bits, (HEIGHT, WIDTH, samples)).astype(kind)


def right_bytes(
    values: np.ndarray, bits: int, photometric: int, extra: tuple[int, ...]
) -> np.ndarray:
    """The rule in words of its own: high bytes, 0 white turned, alpha over black, else ignored."""
    most = 2**bits - 1
    wide = values.astype(np.float64)
    if photometric == GREY_INVERTED:
        wide[..., 0] = most - wide[..., 0]
    eight = np.floor(wide / most * 65535 / 256 + 1e-9).astype(np.int64)
    colours = 3 if photometric == RGB else 1
    picture = np.broadcast_to(eight[..., :colours], (*eight.shape[:2], 3))
    alpha = values.shape[2] > colours and (extra[:1] or (ALPHA,)) == (ALPHA,)
    if alpha and eight[..., colours].any():
        return np.round(picture * eight[..., colours : colours + 1] / 255)
    return picture


def decoded(content: bytes) -> np.ndarray:
    image = upright(decode(content, OWN_FILES))
    return np.asarray(image.convert("RGB")).astype(np.int64)


def assert_right(content: bytes, bits: int, photometric: int, extra: tuple[int, ...]) -> None:
    expected = right_bytes(read_back(content), bits, photometric, extra)
    off = np.abs(decoded(content) - expected).max()
    assert off <= (1 if extra or expected.ndim == 0 else 0)


CONTENTS = {
    "grey": (GREY, 1, ()),
    "0 is white": (GREY_INVERTED, 1, ()),
    "grey and alpha": (GREY, 2, (ALPHA,)),
    "grey and more": (GREY, 2, (IGNORED,)),
    "0 is white, alpha": (GREY_INVERTED, 2, (ALPHA,)),
    "RGB": (RGB, 3, ()),
    "RGBA": (RGB, 4, (ALPHA,)),
    "RGB and more": (RGB, 4, (IGNORED,)),
    "premultiplied": (RGB, 4, (PREMULTIPLIED,)),
    "six channels": (RGB, 6, (IGNORED, IGNORED, IGNORED)),
}
PIECES = {"strips": None, "tiles": (16, 16)}


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_depth_in_every_layout_has_its_high_bytes(name, bits):
    photometric, samples, extra = CONTENTS[name]
    values = noise(samples, bits)
    for order, big, planar, tile in itertools.product("<>", (False, True), (False, True), PIECES):
        if planar and samples == 1:
            continue
        content = write_tiff(
            values,
            bits=bits,
            photometric=photometric,
            order=order,
            big=big,
            planar=planar,
            tile=PIECES[tile],
            extra_samples=extra,
        )
        assert np.array_equal(read_back(content), values)
        assert_right(content, bits, photometric, extra)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", CONTENTS)
def test_every_compression_that_keeps_bytes_is_read(name, compression):
    photometric, samples, extra = CONTENTS[name]
    for bits, planar, tile in itertools.product((1, 4, 8, 12, 16), (False, True), PIECES):
        if planar and samples == 1:
            continue
        for predictor in (1, 2) if bits in {8, 16} else (1,):
            values = noise(samples, bits)
            content = write_tiff(
                values,
                bits=bits,
                photometric=photometric,
                order="<>"[bits % 3 % 2],
                planar=planar,
                tile=PIECES[tile],
                extra_samples=extra,
                compression=compression,
                predictor=predictor,
            )
            assert np.array_equal(read_back(content), values)
            assert_right(content, bits, photometric, extra)
