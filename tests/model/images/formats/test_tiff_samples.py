"""TIFF by layout: correct high bytes, or a reason. tifffile supplies the expected samples."""

import itertools
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import lab2rgb

from model.errors import ImageDamaged, ImageError, ImageFormatRefused
from model.images.decoding import OWN_FILES, decode, opened
from model.images.preprocess import upright
from tests.tiff_files import COMPRESSIONS, read_back, write_tiff

GREY_INVERTED, GREY, RGB = 0, 1, 2
IGNORED, PREMULTIPLIED, ALPHA = 0, 1, 2
PREDICTED = (5, 8, 32946, 34925, 50000)
HEIGHT, WIDTH = 19, 45
CONTENTS = {
    "grey": (GREY, 1, ()),
    "0 is white": (GREY_INVERTED, 1, ()),
    "grey and alpha": (GREY, 2, (ALPHA,)),
    "grey and something": (GREY, 2, ()),
    "grey and more": (GREY, 2, (IGNORED,)),
    "0 is white, alpha": (GREY_INVERTED, 2, (ALPHA,)),
    "RGB": (RGB, 3, ()),
    "RGBA": (RGB, 4, (ALPHA,)),
    "four channels": (RGB, 4, ()),
    "RGB and more": (RGB, 4, (IGNORED,)),
    "premultiplied": (RGB, 4, (PREMULTIPLIED,)),
    "six channels": (RGB, 6, (IGNORED, IGNORED, IGNORED)),
}
TILES = (None, (16, 16))


def noise(samples: int, bits: int, seed: int = 5) -> np.ndarray:
    kind = np.uint8 if bits <= 8 else np.uint16
    dice = np.random.default_rng(seed)
    return dice.integers(0, 2**bits, (HEIGHT, WIDTH, samples)).astype(kind)


def right_bytes(values: np.ndarray, bits: int, name: str) -> np.ndarray:
    """Restate the rule: high bytes, 0-is-white inverted, alpha over black, others ignored."""
    photometric, _, extra = CONTENTS[name]
    most = 2**bits - 1
    wide = values.astype(np.float64)
    if photometric == GREY_INVERTED:
        wide[..., 0] = most - wide[..., 0]
    eight = np.floor(wide / most * 65535 / 256 + 1e-9)
    colours = 3 if photometric == RGB else 1
    picture = np.broadcast_to(eight[..., :colours], (*eight.shape[:2], 3))
    is_alpha = values.shape[2] > colours and (extra[:1] or (ALPHA,)) == (ALPHA,)
    if is_alpha and eight[..., colours].any():
        return np.round(picture * eight[..., colours : colours + 1] / 255)
    return picture


def rgb(content: bytes) -> np.ndarray:
    image = upright(decode(content, OWN_FILES))
    return np.asarray(image.convert("RGB")).astype(np.int64)


def check(name: str, bits: int, **layout) -> None:
    """tifffile must read the noise back, and we its high bytes."""
    photometric, samples, extra = CONTENTS[name]
    values = noise(samples, bits)
    content = write_tiff(values, bits=bits, photometric=photometric, extra_samples=extra, **layout)
    assert np.array_equal(read_back(content), values)
    off = np.abs(rgb(content) - right_bytes(values, bits, name)).max()
    assert off <= (1 if samples in {2, 4} else 0), (name, bits, layout)  # alpha is rounded


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_depth_has_its_high_bytes(name, bits):
    planes = [False] if CONTENTS[name][1] == 1 else [False, True]
    for planar, tile in itertools.product(planes, TILES):
        check(name, bits, planar=planar, tile=tile, order="<>"[planar], big=tile is None)
        check(name, bits, planar=planar, tile=tile, order="><"[planar])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["grey", "0 is white", "RGB", "RGBA", "six channels"])
def test_every_compression_that_keeps_bytes_is_read(name, compression):
    for bits, planar in itertools.product((4, 8, 12, 16), (False, True)):
        if planar and CONTENTS[name][1] == 1:
            continue
        tile = TILES[planar]
        predictor = 2 if bits in {8, 16} and compression in PREDICTED else 1
        check(name, bits, planar=planar, tile=tile, compression=compression, predictor=predictor)


@pytest.mark.long
def test_the_whole_matrix_of_layouts():
    """Combine all depths, orders, arrangements and compressions."""
    for name, bits, order, big, planar, tile, compression in itertools.product(
        CONTENTS,
        (1, 4, 8, 12, 16),
        "<>",
        (False, True),
        (False, True),
        TILES,
        (1, 5, 8, 32773),
    ):
        if planar and CONTENTS[name][1] == 1:
            continue
        predictors = (1, 2) if bits in {8, 16} and compression in PREDICTED else (1,)
        for predictor in predictors:
            check(
                name, bits, order=order, big=big, planar=planar, tile=tile,
                compression=compression, predictor=predictor,
            )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONTENTS)),
    bits=st.integers(1, 16),
    order=st.sampled_from("<>"),
    big=st.booleans(),
    planar=st.booleans(),
    tile=st.sampled_from([None, (16, 16), (32, 16)]),
    rows_per_strip=st.integers(1, 40),
    compression=st.sampled_from(sorted(COMPRESSIONS)),
    predictor=st.sampled_from([1, 2]),
    fill_order=st.sampled_from([1, 1, 2]),
    sample_format=st.sampled_from([None, 1, 2, 3, 4]),
    orientation=st.sampled_from([None, 1, 3, 6]),
    seed=st.integers(0, 9),
)
def test_a_random_layout_is_read_rightly_or_refused(
    name, bits, seed, orientation, sample_format, **layout
):
    photometric, samples, extra = CONTENTS[name]
    layout["planar"] &= samples > 1
    layout["predictor"] = layout["predictor"] if bits in {8, 16} else 1
    values = noise(samples, bits, seed)
    content = write_tiff(
        values, bits=bits, photometric=photometric, extra_samples=extra,
        sample_format=sample_format, orientation=orientation, **layout,
    )  # fmt: skip
    try:
        actual = rgb(content)
    except ImageFormatRefused:
        assert layout["predictor"] == 2 or layout["fill_order"] == 2
        return
    except ImageDamaged:
        raise
    except ImageError as error:
        assert "value range" in str(error)
        assert sample_format in {2, 3}
        return
    assert sample_format in {None, 1, 4}
    turns = {3: 2, 6: 3}.get(orientation, 0)
    assert np.abs(actual - np.rot90(right_bytes(values, bits, name), turns)).max() <= 1


@pytest.mark.parametrize("name", ["grey", "RGB", "RGBA"])
def test_samples_of_an_undefined_format_are_unsigned(name):
    for bits in (8, 12, 16):
        check(name, bits, sample_format=4)


def test_sixteen_bits_where_0_is_white_keep_the_bits_in_use():
    values = noise(1, 12)
    content = write_tiff(65535 - values, bits=16, photometric=GREY_INVERTED)
    image = decode(content, OWN_FILES)
    assert image.mode == "I;16"
    assert np.array_equal(np.asarray(upright(image, 12)), values[..., 0] >> 4)


def saved(values: np.ndarray, **options) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:160:4, 0:224:4], 77), -1).astype(np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_palettes_have_their_colours(bits, compression):
    colours = np.random.default_rng(1).integers(0, 65536, (3, 2**bits))
    values = noise(1, bits)
    content = write_tiff(
        values, bits=bits, photometric=3, compression=compression, colours=colours.ravel()
    )
    assert np.array_equal(read_back(content), values)
    assert np.array_equal(rgb(content), (colours >> 8)[:, values[..., 0]].transpose(1, 2, 0))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}])
def test_other_colours_are_converted(options):
    eight = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    content = saved(eight, photometric="ycbcr", subsampling=(1, 1), **options)
    assert np.abs(rgb(content) - SMOOTH).max() <= 3
    inks = noise(4, 8)
    paper = np.round((255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255)
    for values in (inks, inks.astype(np.uint16) * 257):
        assert np.abs(rgb(saved(values, photometric="separated", **options)) - paper).max() <= 1
    lab = np.array([[[128, 20, 30], [200, -20, 10], [100, 5, -20]]], np.int16)
    stored = (lab & 255).astype(np.uint8).repeat(16, 0)
    right = lab2rgb(lab * [100 / 255, 1, 1]) * 255
    assert np.abs(rgb(saved(stored, photometric="cielab", **options))[:1] - right).max() <= 10


@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
@pytest.mark.parametrize("tile", TILES)
def test_jpeg_within_tiff_is_read(photometric, tile):
    values = SMOOTH if photometric == "rgb" else SMOOTH[..., 0]
    content = saved(values, photometric=photometric, compression="jpeg", tile=tile)
    right = tifffile.imread(BytesIO(content)).astype(np.int64)
    right = 255 - right if photometric == "miniswhite" else right
    assert np.abs(rgb(content) - right.reshape(*right.shape[:2], -1)).max() <= 3


@pytest.mark.parametrize(
    ("kind", "message"),
    [(np.int8, "signed"), (np.int16, "signed"), (np.int32, "signed"), (np.uint32, "32 bits"),
     (np.float16, "floating"), (np.float32, "floating"), (np.float64, "floating"),
     (np.complex64, "complex")],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_samples_without_a_range_are_refused(kind, message, shape):
    content = saved(np.zeros(shape, kind), photometric="rgb" if len(shape) == 3 else "minisblack")
    with pytest.raises(ImageError, match=f"value range of a TIFF of .*{message}"):
        decode(content, OWN_FILES)


@pytest.mark.parametrize(
    ("compression", "message"),
    [("webp", "WebP"), ("lerc", "LERC"), ("jpeg2000", "JPEG 2000"), ("jpegxl", "JPEG XL"),
     ("png", "PNG"), ("jpegxr", "JPEG XR")],
)  # fmt: skip
def test_other_compressions_are_refused_by_name(compression, message):
    content = saved(SMOOTH, photometric="rgb", compression=compression)
    with pytest.raises(
        ImageFormatRefused, match=f"compressed by {message} is not supported: save it as"
    ):
        decode(content, OWN_FILES)


@pytest.mark.parametrize("kind", ["tiff_ccitt", "group3", "group4"])
def test_fax_is_refused(kind):
    file = BytesIO()
    Image.new("1", (30, 20)).save(file, "TIFF", compression=kind)
    with pytest.raises(ImageFormatRefused, match="fax"):
        decode(file.getvalue(), OWN_FILES)


def test_what_no_reader_agrees_on_is_refused():
    for content, message in (
        (saved(noise(5, 8), photometric="minisblack", planarconfig="contig"), "5 samples"),
        (write_tiff(noise(1, 8), bits=8, photometric=GREY, fill_order=2), "lowest bit"),
        (write_tiff(noise(1, 8), bits=8, photometric=GREY, predictor=2), "predictor 2"),
        (write_tiff(noise(1, 8), bits=8, photometric=3, colours=np.arange(768) % 256), "palette"),
        (saved(noise(1, 16)[..., 0], photometric=32803), "mosaic"),
    ):
        with pytest.raises(ImageFormatRefused, match=message):
            decode(content, OWN_FILES)


def test_of_several_pages_the_first_is_taken_unless_it_is_a_thumbnail(tmp_path):
    file = tmp_path / "pages.tif"
    tifffile.imwrite(file, SMOOTH, photometric="rgb")
    tifffile.imwrite(file, 255 - SMOOTH, photometric="rgb", append=True)
    assert np.array_equal(rgb(file.read_bytes()), SMOOTH)
    tifffile.imwrite(file, SMOOTH[::2, ::2], photometric="rgb", subfiletype=1)
    tifffile.imwrite(file, SMOOTH, photometric="rgb", append=True)
    with pytest.raises(ImageFormatRefused, match="thumbnail"):
        decode(file.read_bytes(), OWN_FILES)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image_before_and_after_loading(bits, orientation):
    values = noise(1, bits)
    content = write_tiff(values, bits=bits, photometric=GREY_INVERTED, orientation=orientation)
    with opened(content, OWN_FILES) as file:
        size = file.upright_size
        file.load()
        assert (
            file.upright().size == size == ((HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT))
        )


@pytest.mark.parametrize("samples", [0, 2, 4, 60_000])
def test_samples_that_nothing_is_said_of_are_damage(samples):
    content = write_tiff(noise(3, 16), bits=16, photometric=RGB)
    entry = b"\x15\x01\x03\0\x01\0\0\0"  # number of samples per pixel
    broken = content.replace(entry + b"\x03\0", entry + samples.to_bytes(2, "little"))
    assert broken != content
    with pytest.raises((ImageDamaged, ImageFormatRefused)):
        decode(broken, OWN_FILES)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_cut_or_changed_file_is_damaged(bits):
    content = write_tiff(noise(3, bits), bits=bits, photometric=RGB, planar=True, compression=8)
    dice = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        broken = bytearray(content)
        broken[dice.integers(len(broken))] ^= int(dice.integers(1, 256))
        if dice.random() < 0.3:
            del broken[dice.integers(len(broken)) :]
        try:
            assert rgb(bytes(broken)).ndim == 3
        except ImageError:
            refused += 1
    assert refused
