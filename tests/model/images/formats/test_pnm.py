import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ImageDamaged, ImageFormatRefused, ImageOverLimit
from model.images.decoding import OWN_FILES, DecodeLimits, decode, sniff
from model.images.preprocess import upright


def pnm(values: np.ndarray, most: int, *, text: bool = False, comment: bytes = b"") -> bytes:
    height, width, channels = values.shape
    kind = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, text]
    header = b"P%d\n%s%d %d\n%d\n" % (kind, comment, width, height, most)
    if text:
        return header + b"\n".join(b" ".join(b"%d" % v for v in row.ravel()) for row in values)
    return header + values.astype(">u2" if most > 255 else np.uint8).tobytes()


def pixels(content: bytes) -> np.ndarray:
    image = np.asarray(upright(decode(content, OWN_FILES)))
    return image if image.ndim == 3 else image[..., None]


@settings(max_examples=80, deadline=None)
@given(
    most=st.one_of(st.sampled_from([1, 15, 255, 256, 1023, 4095, 65535]), st.integers(1, 65535)),
    channels=st.sampled_from([1, 3]),
    text=st.booleans(),
    comment=st.sampled_from([b"", b"# a camera's\n", b"#\n# two\n"]),
    seed=st.integers(0, 99),
)
def test_any_highest_value_has_its_high_bytes(most, channels, text, comment, seed):
    values = np.random.default_rng(seed).integers(0, most + 1, (7, 5, channels))
    content = pnm(values, most, text=text, comment=comment)
    assert sniff(content) == "PPM"
    assert np.array_equal(pixels(content), np.floor(values / most * 65535 / 256 + 1e-9))


def test_sixteen_bit_grey_keeps_the_bits_in_use():
    values = np.arange(4096).reshape(64, 64, 1)
    image = decode(pnm(values, 65535), OWN_FILES)
    assert image.mode == "I;16"
    assert np.array_equal(np.asarray(upright(image, 12)), values[..., 0] >> 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P5 4 4 255\n" + bytes(15), "after 15 of its 16 samples"),
        (b"P5 4 4 4095\n" + b"\xff" * 32, "is 65535, above the maximum 4095"),
        (b"P2 2 2 9\n1 2 3", "after 3 of its 4"),
        (b"P2 2 2 9\n1 2 3 -4", "only numbers"),
        (b"P2 1 1 9\n77", "is 77, above"),
        (b"P5 0 4 255\n", "must have pixels"),
        (b"P6 4 4 70000\n" + bytes(96), "maximum value of 1 to 65535"),
        (b"P5 " + b" " * 100_000, "begin with width"),
        (b"P5 #" + b"1 " * 50_000, "begin with width"),
    ],
)
def test_what_is_no_whole_image_is_damaged(content, message):
    with pytest.raises(ImageDamaged, match=message):
        decode(content, OWN_FILES)


def test_limits_hold_before_pixels_do():
    with pytest.raises(ImageOverLimit, match="100 pixels"):
        decode(b"P5 1000 1000 255\n", DecodeLimits(max_pixels=100))
    with pytest.raises(ImageFormatRefused, match="as text"):
        decode(b"P2 30000 30000 255\n", OWN_FILES)
