"""The one decoder, for files and bytes."""

import pytest
from PIL import Image

from model.errors import ImageDamaged, ImageError, ImageFormatRefused, ImageOverLimit
from model.images.decoding import DecodeLimits, check_size, decode, open_image, opened
from tests.hostile_images import black_png, saved


def test_a_file_may_be_larger_than_what_a_service_takes(tmp_path):
    path = tmp_path / "line.png"
    path.write_bytes(black_png(100_000, 2))
    assert open_image(path).size == (100_000, 2)
    with pytest.raises(ImageError, match=r"line\.png is too large: .* 100000 x 2"):
        open_image(path, DecodeLimits(max_side=65_500))


def test_a_line_scan_image_above_pillows_own_limit_is_read():
    assert decode(black_png(20_000, 9_000), DecodeLimits()).size == (20_000, 9_000)


@pytest.mark.parametrize(
    ("size", "message"),
    [((11, 10), "100 pixels"), ((51, 1), "50 pixels wide"), ((45, 1), "40 times its shorter")],
)
def test_every_limit_says_what_it_is_and_what_was_got(size, message):
    with pytest.raises(ImageOverLimit, match=rf"{message}.*{size[0]} x {size[1]}"):
        check_size(size, DecodeLimits(100, 50, 40))
    check_size((40, 1), DecodeLimits(100, 50, 40))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", ImageDamaged),
        (b"hello", ImageFormatRefused),
        (b"\xff\xd8\xff" + bytes(50), ImageError),
    ],
)
def test_what_is_no_image_says_so(content, error):
    with pytest.raises(error):
        decode(content, DecodeLimits())


def test_memory_that_is_not_there_is_no_damage(monkeypatch):
    content = saved(Image.new("L", (8, 8)), "PNG")
    with opened(content, DecodeLimits()) as file:
        monkeypatch.setattr(file.image, "load", lambda: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(ImageOverLimit, match="not enough memory"):
            file.load()


def test_an_image_turned_once_is_not_turned_again():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    with opened(content, DecodeLimits()) as file:
        file.load()
        turned = file.upright()
    assert turned.size == (20, 30)
    assert turned.getexif().get(0x0112) is None
