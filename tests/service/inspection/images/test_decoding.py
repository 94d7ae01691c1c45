"""Decoding: limits first, formats by content, and no damaged file passes."""

import random
import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.images.decoding import FORMATS, opened, sniff
from service.errors import (
    BodyTooLarge,
    ImageTooLarge,
    ServiceError,
    UndecodableImage,
    UnsupportedImage,
)
from service.inspection.images.decoding import ImageLimits, in_service_words


def decode(content, limits):
    """Return the upright image, like a decode thread."""
    limits.check_bytes(len(content))
    with in_service_words(), opened(content, limits.decoding) as file:
        file.load()
        return file.upright()


LIMITS = ImageLimits(max_bytes=200_000, max_pixels=40_000)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(header) + png_chunk(b"IDAT")


def png_chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def webp_header(kind: bytes, width: int, height: int) -> bytes:
    sizes = {
        b"VP8X": bytes(8) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        b"VP8L": b"\0\0\0\0\x2f"
        + (((height - 1) << 14) | (width - 1)).to_bytes(4, "little")
        + bytes(8),
        b"VP8 ": bytes(10) + struct.pack("<HH", width, height),
    }
    return b"RIFF\0\0\0\0WEBP" + kind + sizes[kind]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_recognised_and_decoded(image, kind):
    content = image(20, 10, kind)
    assert sniff(content) == kind
    decoded = decode(content, LIMITS)
    assert decoded.mode == "RGB"
    assert decoded.size == (20, 10)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_every_png_mode_with_colours_becomes_rgb(image, mode):
    assert decode(image(20, 10, mode=mode), LIMITS).mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_grey_stays_grey_or_becomes_rgb(image, mode):
    assert decode(image(20, 10, mode=mode), LIMITS).mode in {"L", "RGB"}


def test_cmyk_becomes_rgb(image):
    assert decode(image(20, 10, "JPEG", mode="CMYK"), LIMITS).mode == "RGB"


def test_an_image_without_a_known_range_is_refused_with_the_reason():
    encoded = BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(encoded, "TIFF")
    with pytest.raises(UndecodableImage, match="value range"):
        decode(encoded.getvalue(), LIMITS)


def test_an_image_is_turned_upright():
    encoded, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(encoded, "JPEG", exif=exif)
    assert decode(encoded.getvalue(), LIMITS).size == (10, 20)


def test_of_several_frames_the_first_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("TIFF", "WebP"):
        encoded = BytesIO()
        frames[0].save(encoded, kind, save_all=True, append_images=frames[1:], lossless=True)
        pixel = decode(encoded.getvalue(), LIMITS).getpixel((4, 4))
        assert pixel == (255, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"8BPS\0\1" + bytes(100),
        b"%PDF-1.7",
        b"hello",
        b"BMW is a car, and this is text",
        b"RIFF\0\0\0\0WAVE",
        b"\x89PN",
        bytes(1000),
    ],
)
def test_anything_else_is_not_taken(content):
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, BMP, TIFF, WebP"):
        decode(content, LIMITS)


def test_nothing_is_not_an_image():
    with pytest.raises(UndecodableImage, match="empty"):
        decode(b"", LIMITS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(image, kind, share):
    content = image(64, 64, kind)
    with pytest.raises(UndecodableImage):
        decode(content[: int(len(content) * share)], LIMITS)


def test_bytes_are_counted_before_anything_is_read():
    with pytest.raises(BodyTooLarge, match="200000"):
        decode(bytes(200_001), LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        png_header(50_000, 50_000),
        png_header(201, 200),
        webp_header(b"VP8X", 16_000, 16_000),
        webp_header(b"VP8L", 16_000, 16_000),
        webp_header(b"VP8 ", 16_000, 16_000),
    ],
)
def test_pixels_are_counted_before_they_are_decoded(content):
    """None of these has pixels: decoding them would report damage."""
    with pytest.raises(ImageTooLarge, match="40000"):
        decode(content, LIMITS)


def test_what_pillow_only_warns_of_is_an_error():
    program = """
from PIL import Image
import model.images.decoding
Image.MAX_IMAGE_PIXELS = 100
Image.new("L", (20, 20)).crop((0, 0, 12, 12))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"DecompressionBombWarning" in answer.stderr.splitlines()[-1]
    assert answer.returncode != 0


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_holds_for_every_format_and_includes_its_last_pixel(image, kind):
    assert decode(image(200, 200, kind), ImageLimits(10**6, 40_000)).size == (200, 200)
    with pytest.raises(ImageTooLarge):
        decode(image(201, 200, kind), ImageLimits(10**6, 40_000))


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_shapes_are_images_too(image, size):
    assert decode(image(*size), LIMITS).size == size


def test_pixels_come_through_unchanged(image):
    source = np.asarray(Image.open(BytesIO(image(17, 13))))
    np.testing.assert_array_equal(np.asarray(decode(image(17, 13), LIMITS)), source)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")  # decoders may warn about the damage
def test_damage_never_raises_anything_else(image, kind):
    """Flip, cut and insert bytes at random: the result is an image, or one of our errors."""
    dice = random.Random(kind)
    original = image(24, 24, kind)
    refused = 0
    for _ in range(150):
        content = bytearray(original)
        for _ in range(dice.randint(1, 8)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if dice.random() < 0.3:
            del content[dice.randrange(len(content)) :]
        try:
            assert decode(bytes(content), LIMITS).mode in {"L", "RGB"}
        except ServiceError:
            refused += 1
    assert refused
