import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.errors import ConfigError, ImageError
from model.images.decoding import open_image
from model.images.preprocess import ImageRule, Preprocessing, to_rgb, upright

IMAGENET = Preprocessing(image_size=(32, 64), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def gradient(height=50, width=40):
    values = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3)
    return Image.fromarray((values % 251).astype(np.uint8))


def test_the_pixels_are_the_image_resized_by_pil():
    pixels = IMAGENET.to_array(gradient())
    assert (pixels.shape, pixels.dtype) == ((3, 32, 64), np.uint8)
    expected = np.asarray(gradient().resize((64, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "RGBA"])
def test_every_usual_mode_becomes_rgb(mode):
    source = gradient().convert("RGB")
    image = source.convert(mode) if mode != "LAB" else Image.new("LAB", (4, 4), (50, 0, 0))
    assert to_rgb(image).mode == "RGB"
    assert to_rgb(image).size == image.size


def test_grey_is_repeated():
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    channels = np.asarray(to_rgb(grey))
    assert (channels == np.asarray(grey)[..., None]).all()


def test_grey_is_resized_as_grey_to_the_same_bytes():
    grey = gradient(333, 77).convert("L")
    expected = IMAGENET.to_array(grey.convert("RGB"))
    np.testing.assert_array_equal(IMAGENET.to_array(grey), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_upright_and_in_8_bits_is_not_copied(mode, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    gradient().convert(mode).save(tmp_path / "image.png", exif=exif)
    image = open_image(tmp_path / "image.png")
    assert upright(image) is image


@pytest.mark.parametrize(("mode", "expected"), [("I;16", "L"), ("1", "RGB"), ("P", "RGB")])
def test_upright_is_grey_or_rgb(mode, expected):
    assert upright(gradient().convert("L").convert(mode)).mode == expected


def test_sixteen_bits_keep_the_high_byte():
    values = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    assert np.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 1, 255]


def test_transparency_shows_black():
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 0))
    image.putpixel((1, 0), (200, 100, 50, 255))
    assert [to_rgb(image).getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (200, 100, 50)]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: viewers turn it a quarter clockwise
    gradient(20, 30).save(tmp_path / "turned.png", exif=exif)
    upright = to_rgb(open_image(tmp_path / "turned.png"))
    assert upright.size == (20, 30)
    expected = gradient(20, 30).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(np.asarray(upright), np.asarray(expected))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_range_that_nothing_tells_is_refused(mode):
    with pytest.raises(ImageError, match="value range"):
        to_rgb(Image.new(mode, (4, 4)))


def test_files_that_are_no_image(tmp_path):
    with pytest.raises(ImageError, match="no image file"):
        open_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.png is not a readable image"):
        open_image(tmp_path / "text.png")
    gradient().save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut\.png is not a readable image"):
        open_image(tmp_path / "cut.png")


def test_json_and_back():
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in IMAGENET.to_dict().items()}
    assert Preprocessing.from_dict(values) == IMAGENET
    for wrong, message in (
        ({"crop": 224}, "Preprocessing has no crop"),
        ({"std": [1.0, 1.0, 0.0]}, "std must be at least 1e-06"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be float, float, float"),
        ({"image_size": [0, 5]}, "image_size"),
        ({"interpolation": "nearest"}, "bilinear"),
    ):
        with pytest.raises(ConfigError, match=message):
            Preprocessing.from_dict({**values, **wrong})


def test_a_manifest_from_before_there_was_a_choice_means_stretch_and_the_high_byte():
    old = ("image_size", "mean", "std", "interpolation")
    values = {k: v for k, v in IMAGENET.to_dict().items() if k in old}
    preprocessing = Preprocessing.from_dict(values)
    assert (preprocessing.resize, preprocessing.grey_bits) == ("stretch", 16)
    assert preprocessing == IMAGENET


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resize": "crop"}, "resize must be stretch, letterbox, tile, got 'crop'"),
        ({"tile_overlap": 0.9}, "tile_overlap"),
        ({"tile_scale": 0.0}, "tile_scale"),
        ({"grey_bits": 7}, "grey_bits"),
        ({"resize": "tile", "image_size": (30, 64)}, "multiples of 8"),
    ],
)
def test_a_framing_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing.from_dict({**IMAGENET.to_dict(), **wrong})


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_in_use_of_a_16_bit_grey_are_its_range(bits):
    most = 2**bits - 1
    values = np.array([[0, most // 2, most, 65535]], dtype=np.uint16)
    image = Image.fromarray(values)
    assert np.asarray(upright(image, bits)).tolist() == [[0, 127, 255, 255]]
    rule = Preprocessing.from_dict({**IMAGENET.to_dict(), "grey_bits": bits})
    assert np.array_equal(rule.to_array(image), rule.to_array(upright(image, bits)))
    assert (
        rule.pixels_key
        != Preprocessing.from_dict({**IMAGENET.to_dict(), "grey_bits": 9}).pixels_key
    )


def test_sixteen_bits_of_colour_keep_their_high_bytes(tmp_path):
    """Like a PNG; PIL cannot make such an image, so the test writes the file itself."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 0x1234, 0x00FF, 0xFF00, 0xFFFF, 0x8000, 0x7FFF)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row))
    (tmp_path / "deep.png").write_bytes(png + chunk(b"IEND", b""))
    image = upright(open_image(tmp_path / "deep.png"))
    assert np.asarray(image).tolist() == [[[0x12, 0, 0xFF], [0xFF, 0x80, 0x7F]]]


def test_only_one_input_is_one_array():
    tiled = Preprocessing.from_dict({**IMAGENET.to_dict(), "resize": "tile"})
    assert tiled.to_array(gradient(32, 64)).shape == (3, 32, 64)
    with pytest.raises(ImageError, match="needs 2 tiles"):
        tiled.to_array(gradient(40, 64))


def test_a_rule_is_the_part_of_it_that_may_be_chosen():
    rule = ImageRule(resize="tile", tile_overlap=0.5, tile_scale=0.5, grey_bits=12)
    preprocessing = rule.preprocessing(IMAGENET.image_size, IMAGENET.mean, IMAGENET.std)
    assert preprocessing == Preprocessing.from_dict({**IMAGENET.to_dict(), **rule.to_dict()})
    assert ImageRule().preprocessing(IMAGENET.image_size, IMAGENET.mean, IMAGENET.std) == IMAGENET
    with pytest.raises(ConfigError, match="resize must be"):
        ImageRule(resize="crop")
