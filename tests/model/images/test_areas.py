import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from model.errors import ConfigError
from model.images.areas import Area, Areas, read_area
from model.inspection import ImageSize

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
CORNER = ((0.0, 0.0), (0.25, 0.0), (0.25, 0.5), (0.0, 0.5))


def png(values):
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("size", [(4, 8), (40, 24), (101, 33)])
def test_polygons_are_shares_of_the_image_whatever_its_size(size):
    height, width = size
    inside = Area(include=(LEFT,), exclude=(CORNER,)).inside(ImageSize(*size))
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    expected = (x < 0.5) & ~((x < 0.25) & (y < 0.5))
    edge = (abs(x - 0.5) < 1 / width) | (abs(x - 0.25) < 1 / width) | (abs(y - 0.5) < 1 / height)
    assert np.array_equal(inside[~edge], expected[~edge])
    assert abs(inside.mean() - 0.375) < 2 / min(size)


def test_nothing_given_is_everything():
    assert Area().inside(ImageSize(3, 5)).all()


def test_a_picture_says_what_counts():
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :10] = 255
    inside = Area(mask=png(mask)).inside(ImageSize(5, 8))
    assert inside[:, :4].all()
    assert not inside[:, 4:].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"include": [[[0, 0], [1, 1]]]},
        {"include": [[[0, 0], [1, 1], [2, 0]]]},
        {"exclude": [[[0, 0], [1, 0], [1, 1], [0, 1]]]},
        {"mask": "no base64!"},
        {"mask": base64.b64encode(b"no picture").decode()},
        {"mask": png(np.zeros((8, 8), np.uint8))},
        {"roi": []},
    ],
)
def test_what_is_no_area_is_refused(wrong):
    with pytest.raises(ValidationError):
        Area.model_validate(wrong)


def test_areas_are_read_from_polygons_and_pictures(tmp_path):
    (tmp_path / "roi.json").write_text(json.dumps([LEFT]))
    ignored = np.zeros((10, 20), np.uint8)
    ignored[5:] = 255
    Image.fromarray(ignored).save(tmp_path / "ignore.png")
    area = read_area(tmp_path / "roi.json", tmp_path / "ignore.png")
    inside = area.inside(ImageSize(10, 20))
    assert inside[:5, :9].all()
    assert not inside[5:].any()
    assert not inside[:, 11:].any()
    assert Area.model_validate(json.loads(area.model_dump_json())) == area


def test_two_pictures_count_where_both_say_so(tmp_path):
    left, upper = np.zeros((2, 40, 40), np.uint8)
    left[:, :20] = 255
    upper[20:] = 255
    Image.fromarray(left).save(tmp_path / "roi.png")
    Image.fromarray(upper).save(tmp_path / "ignore.png")
    inside = read_area(tmp_path / "roi.png", tmp_path / "ignore.png").inside(ImageSize(40, 40))
    assert inside[:20, :20].all()
    assert inside.sum() == 400


def test_files_that_hold_no_area_say_why(tmp_path):
    (tmp_path / "roi.json").write_text("{")
    with pytest.raises(ConfigError, match=r"roi\.json is not readable JSON"):
        read_area(tmp_path / "roi.json", None)
    (tmp_path / "roi.json").write_text("[[[0, 0], [5, 5], [1, 0]]]")
    with pytest.raises(ConfigError, match=r"roi\.json: .*less than or equal to 1"):
        read_area(tmp_path / "roi.json", None)
    with pytest.raises(ConfigError, match="not a readable image"):
        read_area(None, tmp_path / "roi.png")
    Image.new("L", (8, 8), 255).save(tmp_path / "roi.png")
    Image.new("L", (8, 9), 0).save(tmp_path / "ignore.png")
    with pytest.raises(ConfigError, match="must have the same size"):
        read_area(tmp_path / "roi.png", tmp_path / "ignore.png")
    Image.new("L", (8, 8), 255).save(tmp_path / "ignore.png")
    with pytest.raises(ConfigError, match="excludes all"):
        read_area(None, tmp_path / "ignore.png")


def test_what_lies_outside_is_as_low_as_anything_inside():
    areas = Areas({"bolt": Area(include=(LEFT,))})
    values = np.array([[3.0, 2.0, 9.0, 1.0], [4.0, 5.0, 8.0, 0.5]], np.float32)
    assert sorted(areas.counted(values, "bolt")) == [2, 3, 4, 5]
    assert areas.lowered(values, "bolt").tolist() == [[3, 2, 2, 2], [4, 5, 2, 2]]
    assert areas.lowered(values, "bolt", 1.5).tolist() == [[3, 2, 1.5, 1.5], [4, 5, 1.5, 1.5]]
    assert (areas.lowered(values, "bolt", 0.1)[:, 2:] <= 0.1).all()
    assert areas.lowered(values, "nut") is values
    assert len(areas.counted(values, "nut")) == 8


def test_an_area_of_no_pixel_at_all_is_an_error():
    speck = ((0.49, 0.49), (0.51, 0.49), (0.51, 0.51), (0.49, 0.51))
    areas = Areas({"bolt": Area(include=(speck,))})
    with pytest.raises(ConfigError, match="has no pixel in a map of"):
        areas.counted(np.zeros((3, 4), np.float32), "bolt")
