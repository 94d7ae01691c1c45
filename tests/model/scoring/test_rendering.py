import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.calibration.calibration import Calibration
from model.inspection import Region
from model.scoring.rendering import colours, heatmap, levels, mask, overlay, raw, scale_scores


def test_heatmap_spans_the_grey_range_at_the_size_asked_for():
    scores = np.array([[0.0, 0.5], [1.0, 0.25]])
    picture = heatmap(scores, (2, 2))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), [[0, 128], [255, 64]])
    assert heatmap(scores, (30, 20)).size == (30, 20)


def test_heatmap_clips_what_lies_outside_0_to_1():
    picture = heatmap(np.array([[-1.0, 2.0]], dtype=np.float32), (2, 1))
    assert np.asarray(picture).tolist() == [[0, 255]]


def test_colours_grow_lighter_with_the_score():
    ramp = np.asarray(colours(Image.fromarray(np.arange(256, dtype=np.uint8)[None])))[0]
    luminance = ramp @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_overlay_leaves_the_normal_as_it_is(mode):
    image = Image.effect_noise((40, 30), 60).convert(mode)
    picture = overlay(image, np.zeros((8, 8)))
    assert picture.mode == "RGB"
    assert picture.size == (40, 30)
    assert np.array_equal(np.asarray(picture), np.asarray(image.convert("RGB")))


def test_overlay_marks_the_anomaly_where_it_is():
    image = Image.new("RGB", (64, 64), (90, 90, 90))
    scores = np.zeros((64, 64))
    scores[40:50, 10:20] = 1
    changed = np.abs(np.asarray(overlay(image, scores)).astype(int) - 90).sum(axis=-1) > 30
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 49, 10, 19)


def test_overlay_draws_the_box_of_each_region():
    image = Image.new("RGB", (64, 48), (90, 90, 90))
    region = Region(box=(10, 12, 20, 8), area_px=100, peak=(15, 15), peak_score=0.9)
    picture = overlay(image, np.zeros((48, 64)), [region])
    for corner in ((10, 12), (29, 12), (10, 19), (29, 19)):
        assert picture.getpixel(corner) == (255, 255, 255)
    assert picture.getpixel((20, 16)) == (90, 90, 90)


def test_overlay_draws_a_region_at_the_very_edge():
    image = Image.new("RGB", (32, 32), (90, 90, 90))
    region = Region(box=(0, 0, 32, 1), area_px=32, peak=(0, 0), peak_score=0.9)
    picture = overlay(image, np.zeros((32, 32)), [region])
    assert picture.getpixel((31, 0)) == (255, 255, 255)


def test_scores_are_those_of_the_calibration():
    calibration = Calibration(0.2, 0.3, 0.05, 0.08, 0.01, 100)
    values = np.random.default_rng(0).uniform(0, 0.9, (16, 16)).astype(np.float32)
    scores = scale_scores(values, calibration.pixel_score)
    exact = [[calibration.pixel_score(float(v)) for v in row] for row in values]
    assert np.abs(scores - exact).max() < 1 / 512
    assert ((scores > 0.5) == (values > 0.3)).mean() > 0.99


def test_a_flat_map_has_one_score():
    values = np.full((4, 4), 0.25, dtype=np.float32)
    assert scale_scores(values, lambda raw: 2 * raw).tolist() == [[0.5] * 4] * 4


def test_no_value_changes_sides_of_the_threshold():
    calibration = Calibration(0.2, 0.3, 0.05, 0.001, 0.01, 100)
    near = np.float32(0.3) + np.arange(-50, 51, dtype=np.float32) * np.float32(1e-6)
    values = np.concatenate([near, np.float32([0.0, 5.0])]).astype(np.float32)[None]
    scores = scale_scores(values, calibration.pixel_score)
    assert np.array_equal(scores > 0.5, values.astype(np.float64) > 0.3)


def test_levels_lie_above_the_middle_where_scores_do():
    half = np.float32(0.5)
    scores = np.array([[0, half, np.nextafter(half, np.float32(1)), 1, -3, 7]], dtype=np.float32)
    assert levels(scores, (6, 1)).tolist() == [[0, 32767, 32768, 65535, 0, 65535]]
    assert np.asarray(mask(scores, (6, 1))).tolist() == [[0, 0, 255, 255, 0, 255]]


def test_raw_keeps_scores_to_half_a_level():
    scores = np.random.default_rng(0).uniform(0, 1, (12, 10)).astype(np.float32)
    picture = raw(scores, (10, 12))
    assert picture.mode == "I;16"
    assert np.abs(np.asarray(picture) / 65535 - scores).max() <= 0.5 / 65535 + 1e-9
    encoded = BytesIO()
    picture.save(encoded, "PNG")
    assert np.array_equal(np.asarray(Image.open(encoded)), np.asarray(picture))
    assert raw(scores, (31, 77)).size == mask(scores, (31, 77)).size == (31, 77)


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1)])
def test_drawing_takes_time_by_pixels_whatever_their_shape(size):
    """Row by row it took 10 s, and minutes with lines as thick as the side suggests."""
    scores = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    regions = [Region(box=(0, 0, *size), area_px=1, peak=(0, 0), peak_score=0.9)] * 5
    started = time.process_time()
    assert mask(scores, size).size == size
    assert overlay(Image.new("L", size), scores, regions).size == size
    assert time.process_time() - started < 5


def test_levels_are_those_of_each_score_at_any_size():
    scores = np.linspace(0, 1, 600 * 601, dtype=np.float32).reshape(600, 601)
    expected = np.ceil(scores.astype(np.float64) * 65535 - 0.5).astype(np.uint16)
    assert np.array_equal(levels(scores, (601, 600)), expected)


@pytest.mark.parametrize(("size", "line"), [((600, 600), 2), ((3_000, 40), 4), ((9_000, 9), 1)])
def test_a_boxes_line_follows_both_sides(size, line):
    picture = overlay(Image.new("L", size), np.zeros((8, 8)), [box_of(size)])
    column = np.asarray(picture)[size[1] // 2, :, 0]
    assert int((column == 255).sum()) == 2 * line


def box_of(size):
    return Region(box=(100, 0, size[0] - 200, size[1]), area_px=1, peak=(0, 0), peak_score=0.9)
