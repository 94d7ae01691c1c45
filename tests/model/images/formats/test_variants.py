"""Format variants: PNG, BMP, JPEG and WebP are decoded to the right bytes, or refused."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from itertools import product

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.errors import ImageError, ImageFormatRefused
from model.images.decoding import OWN_FILES, allow_pixels, decode, open_image, opened
from model.images.preprocess import to_rgb, upright

DICE = np.random.default_rng(11)
PART = DICE.integers(0, 256, (20, 30, 3)).astype(np.uint8)


def rgb(content: bytes) -> np.ndarray:
    return np.asarray(to_rgb(decode(content, OWN_FILES))).astype(np.int64)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def packed(values: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return values.astype(">u2").tobytes()
    single = (values.ravel()[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(single.astype(np.uint8).ravel()).tobytes()


def png(values: np.ndarray, bits: int, colour: int, **chunks: bytes) -> bytes:
    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    rows = b"".join(b"\0" + packed(row, bits) for row in values)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts.items():
        named = kind.encode() + body
        content += struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))
    return content


def high_bytes(values: np.ndarray, bits: int) -> np.ndarray:
    return (values.astype(np.int64) * 65535 // (2**bits - 1)) >> 8


@pytest.mark.parametrize("gamma", [{}, {"gAMA": struct.pack(">I", 100_000)}, {"sRGB": b"\0"}])
@pytest.mark.parametrize(
    ("colour", "bits"),
    [*product([0], [1, 2, 4, 8, 16]), *product([2, 4, 6], [8, 16])],
)
def test_png_of_every_depth_has_its_high_bytes(colour, bits, gamma):
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = DICE.integers(0, 2**bits, (20, 30, samples))
    right = high_bytes(values, bits)
    if samples in {2, 4}:
        right = np.round(right[..., :-1] * right[..., -1:] / 255)
    assert np.abs(rgb(png(values, bits, colour, **gamma)) - right).max() <= 0


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palettes_are_laid_over_black_unless_that_hides_all(bits):
    values = DICE.integers(0, 2**bits, (20, 30, 1))
    colours = DICE.integers(0, 256, (2**bits, 3))
    alpha = DICE.integers(1, 256, (2**bits, 1))
    palette = colours.astype(np.uint8).tobytes()
    for seen, tail in (
        (colours, {}),
        (np.round(colours * alpha / 255), {"tRNS": alpha.astype(np.uint8).tobytes()}),
        (colours, {"tRNS": bytes(2**bits)}),
    ):
        assert np.array_equal(rgb(png(values, bits, 3, PLTE=palette, **tail)), seen[values[..., 0]])


def bmp(values, bits, *, header=40, masks=(), top_down=False, palette=None):
    height, width = values.shape[:2]
    kind = {16: "<u2", 32: "<u4"}.get(bits)
    rows = [row.astype(kind).tobytes() if kind else packed(row, min(bits, 8)) for row in values]
    body = b"".join(row + bytes(-len(row) % 4) for row in (rows if top_down else rows[::-1]))
    colours = b"" if palette is None else np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    info = struct.pack(
        "<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits,
        3 if masks else 0, len(body), 0, 0, 0 if palette is None else len(palette), 0,
    )  # fmt: skip
    info = (info + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0")
    start = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + colours + body


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_of_every_depth_is_read(top_down):
    for bits in (1, 4, 8):
        palette = DICE.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        values = DICE.integers(0, 2**bits, (20, 30))
        content = bmp(values, bits, palette=palette, top_down=top_down)
        assert np.array_equal(rgb(content), palette[values])
    assert np.array_equal(rgb(bmp(PART[..., ::-1], 24, top_down=top_down)), PART)
    values = DICE.integers(0, 65536, (20, 30))
    for masks, shifts, wide in (
        ((), (10, 5, 0), (31, 31, 31)),
        ((0x7C00, 0x3E0, 0x1F), (10, 5, 0), (31, 31, 31)),
        ((0xF800, 0x7E0, 0x1F), (11, 5, 0), (31, 63, 31)),
    ):
        levels = [(values >> shift & most) / most for shift, most in zip(shifts, wide, strict=True)]
        actual = rgb(bmp(values, 16, masks=masks, top_down=top_down))
        assert np.abs(actual - 255 * np.stack(levels, -1)).max() < 1


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize("fourth", [0, 255, 100])
def test_the_fourth_byte_of_a_bmp_hides_no_part(header, fourth):
    wide = PART.astype(np.uint32)
    values = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2] | np.uint32(fourth << 24)
    plain = rgb(bmp(values, 32, header=header))
    assert np.array_equal(plain, PART)
    if header > 40:
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        right = PART if fourth == 0 else np.round(PART.astype(float) * fourth / 255)
        assert np.array_equal(rgb(bmp(values, 32, header=header, masks=masks)), right)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_that_hides_everything_says_nothing(kind, mode):
    """As cameras leave it: alpha is ignored, unless at least one pixel is visible."""
    grey = Image.fromarray(PART[..., 0])
    part = Image.fromarray(PART) if mode == "RGBA" else grey
    layers = [*part.split(), Image.new("L", part.size)]
    hidden = Image.merge(mode, layers)
    options = {"lossless": True, "exact": True} if kind == "WebP" else {}
    if (kind, mode) == ("WebP", "LA"):
        hidden = hidden.convert("RGBA")
    assert np.array_equal(rgb(saved(hidden, kind, **options)), np.asarray(part.convert("RGB")))
    hidden.putpixel((3, 2), (*hidden.getpixel((3, 2))[:-1], 255))
    assert np.count_nonzero(rgb(saved(hidden, kind, **options)).any(axis=-1)) <= 1


def test_an_array_with_alpha_0_is_its_colours():
    array = np.dstack([PART, np.zeros(PART.shape[:2], np.uint8)])
    assert np.array_equal(np.asarray(upright(Image.fromarray(array))), PART)


GREY = PART[..., 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (imagecodecs.jpeg8_encode(GREY.astype(np.uint16) << 4, bitspersample=12), "12 bits per"),
        (imagecodecs.ljpeg_encode(GREY), "lossless JPEG"),
        (imagecodecs.jpegls_encode(GREY), "JPEG-LS"),
        (imagecodecs.jpeg2k_encode(GREY), "JPEG 2000 is not"),
        (imagecodecs.jpegxl_encode(GREY), "JPEG XL is not"),
        (imagecodecs.jpegxr_encode(GREY), "JPEG XR is not"),
        (saved(Image.fromarray(PART), "AVIF"), "AVIF is not"),
        (saved(Image.fromarray(GREY), "GIF"), "GIF is not"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not"),
        (b"P4 8 1\n\xff", "PBM is not"),
    ],
)
def test_what_is_not_read_is_named(content, message):
    with pytest.raises(ImageFormatRefused, match=message):
        decode(content, OWN_FILES)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_of_every_kind_is_read(mode, options):
    smooth = Image.linear_gradient("L").resize((64, 48)).convert("RGB").convert(mode)
    actual = rgb(saved(smooth, "JPEG", quality=95, subsampling=0, **options))
    assert np.abs(actual - np.asarray(smooth.convert("RGB"))).max() <= 4
    if mode == "RGB":
        actual = rgb(saved(smooth, "JPEG", quality=95, keep_rgb=True))
        assert np.abs(actual - np.asarray(smooth)).max() <= 4


def exif(kind: int, count: int, value: bytes, entries: int = 1) -> bytes:
    entry = struct.pack("<HHI", 0x112, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + entry + bytes(4)


ODD_EXIF = {
    "9": exif(3, 1, b"\x09\0\0\0"),
    "0": exif(3, 1, bytes(4)),
    "text": exif(2, 2, b"6\0\0\0"),
    "a byte": exif(1, 1, b"\x06\0\0\0"),
    "no such type": exif(99, 1, b"\x06\0\0\0"),
    "a fraction elsewhere": exif(5, 1, b"\xff\xff\0\0"),
    "a list elsewhere": exif(3, 4, b"\x90\0\0\0"),
    "cut": exif(3, 1, b"\x06\0\0\0")[:18],
    "junk": b"Exif\0\0hello",
}


def test_odd_orientations_are_upright_without_a_warning(tmp_path):
    """Runs in another process, since pytest has its own warnings."""
    for number, (name, odd) in enumerate(ODD_EXIF.items()):
        content = saved(Image.fromarray(PART), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(odd) + 2) + odd
        (tmp_path / f"{number} {name}.jpg").write_bytes(content[:2] + segment + content[2:])
    program = f"""
from pathlib import Path
from model.images.decoding import open_image, opened_file
from model.images.preprocess import upright
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    assert upright(open_image(path)).size == (30, 20), path
    with opened_file(path) as found:
        assert found.upright_size == (30, 20), path
"""
    for option in ("-Wdefault", "-Werror"):
        answer = subprocess.run(
            [sys.executable, option, "-c", program], capture_output=True, check=False, text=True
        )
        assert (answer.returncode, answer.stderr) == (0, "")


def test_more_pixels_than_pillow_takes_are_read_and_the_limit_can_be_set(tmp_path):
    file = tmp_path / "line.png"
    Image.new("L", (20_000, 9_000), 90).save(file, compress_level=1)
    with opened(file.read_bytes(), OWN_FILES) as opened_file:
        assert opened_file.image.size == (20_000, 9_000)
    allow_pixels(100_000_000)
    try:
        with pytest.raises(ImageError, match=r"line\.png is too large.*180000000.*--max-pixels"):
            open_image(file)
    finally:
        allow_pixels(OWN_FILES.max_pixels)
