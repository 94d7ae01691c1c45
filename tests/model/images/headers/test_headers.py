"""Declared headers: equal to Pillow's reading, and bounded for hostile files."""

import time
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from model.errors import ImageError, ImageFormatRefused, ImageOverLimit
from model.images.decoding import FORMATS, DecodeLimits, decode, opened, read_header
from tests import hostile_images as hostile

LIMITS = DecodeLimits(50_000_000, 65_500, 20_000, 1_000_000_000)
BUDGET_S = 5.0
"""Processor time for one generated file; some once took minutes."""

OVER = {
    "a line of 50 million": (hostile.black_png(50_000_000, 1), "65500 pixels wide"),
    "a column of 3 million": (hostile.black_png(1, 3_000_000), "65500 pixels wide"),
    "a line of 60,000": (hostile.black_png(60_000, 1), "20000 times its shorter"),
    "700 scans": (hostile.jpeg_of_many_scans(1_500, 1_500, 700), "times its scans"),
    "segments": (hostile.jpeg_of_many_segments(10_001), "10000 segments"),
    "padding": (hostile.jpeg_of_much_padding(10_001), "10000 segments"),
    "EXIF in segments": (hostile.jpeg_of_exif(bytes(300_000)), "262144 bytes of EXIF"),
    "Photoshop": (
        hostile.jpeg_with(b"\xff\xed\xff\xffPhotoshop 3.0\0" + b"8BIM".ljust(6, b"\0") * 10_920),
        "10000 Photoshop",
    ),
    "text chunks": (hostile.png_of_many_chunks(50_001), "50000 chunks"),
    "compressed text": (hostile.png_of_many_chunks(40, b"zTXt"), "32 compressed chunks"),
    "strips": (hostile.grey_tiff(8, 12_000, rows_per_strip=1), "10000 strips"),
    "tiles far over the edge": (
        hostile.grey_tiff(16, 65_500, tile=(65_520, 16), packed=b""),
        "tiles may have 100000000 pixels",
    ),
    "a tile of 60,000 x 60,000": (
        hostile.grey_tiff(1, 1, tile=(60_000, 60_000), packed=b""),
        "tiles may have 100000000 pixels",
    ),
    "numbers in a TIFF": (
        hostile.grey_tiff(8, 8, more={258: (hostile.SHORT, (8,) * 200_000)}),
        "100000 numbers",
    ),
    "entries in a TIFF": (
        hostile.grey_tiff(8, 8, more=dict.fromkeys(range(40000, 51000), (hostile.SHORT, (1,)))),
        "10000 entries",
    ),
    "a chunk of EXIF": (
        hostile.png(hostile.png_header(8, 8), (b"eXIf", b"II*\0" + bytes(300_000))),
        "262144 bytes of EXIF",
    ),
}


@pytest.mark.parametrize("kind", OVER)
def test_what_costs_too_much_is_refused_before_it_is_opened(kind):
    content, message = OVER[kind]
    with pytest.raises(ImageOverLimit, match=message):
        read_header(content, LIMITS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hostile.run_length_bmp(8, 8), "RLE"),
        (hostile.grey_tiff(8, 8, compression=3, packed=b"x"), "fax"),
        (hostile.grey_tiff(8, 8, compression=4, packed=b"x", big=True), "fax"),
    ],
)
def test_a_variant_that_cannot_be_decoded_safely_is_refused(content, message):
    with pytest.raises(ImageFormatRefused, match=message):
        read_header(content, LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        hostile.black_png(20_000, 1),
        hostile.jpeg_of_many_scans(64, 64, 100),
        hostile.jpeg_of_many_segments(1_000),
        hostile.jpeg_of_much_padding(1_000),
        hostile.jpeg_of_restarts(64, 64),
        hostile.png_of_many_chunks(1_000),
        hostile.animated_png(32, 32, 3),
        hostile.animated_webp(32, 32, 30),
        hostile.lossless_webp(33, 31),
        hostile.grey_tiff(8, 9_000, rows_per_strip=1),
        hostile.grey_tiff(50, 50, tile=(256, 256), big=True),
    ],
)
def test_what_is_only_odd_is_decoded(content):
    header = read_header(content, LIMITS)
    image = decode(content, LIMITS)
    assert image.size == (header.declared.width, header.declared.height)


def saved(mode, kind, size=(37, 23), **options):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise).convert("L").convert(mode)
    encoded = BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


MODES = {
    "PNG": ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "BMP": ["1", "L", "P", "RGB"],
    "TIFF": ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"],
    "WebP": ["RGB", "RGBA"],
    "PPM": ["L", "RGB", "I;16"],
}


@pytest.mark.parametrize(("kind", "mode"), [(k, mode) for k in FORMATS for mode in MODES[k]])
def test_the_size_is_pillows_and_the_memory_no_less(kind, mode):
    content = saved(mode, kind)
    with opened(content, LIMITS) as file:
        declared = file.header.declared
        assert (declared.width, declared.height) == file.image.size == (37, 23)
        stored = {"L": 1, "1": 1, "P": 1, "I;16": 2}.get(file.load().mode, 4)
    assert declared.peak_bytes_per_pixel >= stored
    assert 0 < declared.seconds < 0.01


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_every_other_compression_of_a_tiff_is_read(compression):
    assert decode(saved("RGB", "TIFF", compression=compression), LIMITS).size == (37, 23)


def test_a_header_that_is_cut_is_damage_in_every_format():
    for kind in FORMATS:
        content = saved("RGB", kind)
        for length in range(12, 60):
            with pytest.raises(ImageError):
                decode(content[:length], LIMITS)


@settings(
    max_examples=120,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(hostile.hostile_images())
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage
def test_whatever_is_posted_is_an_image_or_refused_within_a_budget(content):
    started = time.process_time()
    try:
        with opened(content, LIMITS) as file:
            file.load()
            assert file.upright().mode in {"L", "RGB"}
    except ImageError as error:
        assert len(str(error)) > 20
    assert time.process_time() - started < BUDGET_S
