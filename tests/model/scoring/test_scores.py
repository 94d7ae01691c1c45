import numpy as np
import pytest
import torch
from scipy.ndimage import find_objects, gaussian_filter, label, maximum

from model.errors import ConfigError
from model.inspection import AnomalyMap, ImageSize
from model.scoring.cosine_map import anomaly_map
from model.scoring.scores import Scoring, find_regions, peak_region


def features(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, s, s, generator=generator) for c, s in ((4, 16), (8, 8), (16, 4))]


def test_weights_are_shares():
    teacher, student = features(0), features(0)
    student[0] = -student[0]
    for weights, expected in (((1, 1, 1), 2 / 3), ((0, 1, 2), 0.0), ((2, 1, 1), 1.0)):
        maps = anomaly_map(teacher, student, (16, 16), weights=[float(w) for w in weights])
        torch.testing.assert_close(maps, torch.full((2, 16, 16), expected), atol=1e-5, rtol=1e-5)


def test_unused_scales_are_counted_from_the_finest():
    for weights, unused in (((1, 1, 1), 0), ((0, 1, 2), 1), ((0, 0, 1), 2), ((1, 0, 0), 0)):
        assert Scoring(scale_weights=tuple(map(float, weights))).unused_scales == unused
    for wrong in ((0.0, 0.0, 0.0), (-1.0, 1.0, 1.0), (1.0, 1.0, float("inf"))):
        with pytest.raises(ConfigError, match="scale_weights must be three"):
            Scoring(scale_weights=wrong)


def test_equal_features_are_no_anomaly():
    maps = anomaly_map(features(0), [2 * f for f in features(0)], (64, 64))
    assert maps.shape == (2, 64, 64)
    assert maps.abs().max() < 1e-6


def test_opposite_features_are_the_most_there_is():
    maps = anomaly_map(features(0), [-f for f in features(0)], (64, 64))
    torch.testing.assert_close(maps, torch.full((2, 64, 64), 2.0), rtol=1e-5, atol=1e-5)


def test_the_map_is_the_mean_over_the_scales():
    teacher, student = features(0), features(0)
    student[1] = -student[1]
    maps = anomaly_map(teacher, student, (64, 64))
    torch.testing.assert_close(maps, torch.full((2, 64, 64), 2 / 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (20, 48), (8, 8)])
def test_the_blur_is_scipys(sigma, size):
    """Also if the kernel is wider than the map and its mirror images overlap."""
    teacher, student = features(0), features(1)
    sharp = anomaly_map(teacher, student, size, sigma=0.0).numpy()
    blurred = anomaly_map(teacher, student, size, sigma=sigma).numpy()
    expected = np.stack([gaussian_filter(m, sigma, mode="reflect", truncate=4.0) for m in sharp])
    np.testing.assert_allclose(blurred, expected, atol=2e-6)


def test_half_precision_features_give_a_float32_map():
    half = [f.to(torch.bfloat16) for f in features(0)]
    assert anomaly_map(half, half, (32, 32)).dtype == torch.float32


def test_scores():
    maps = np.zeros((2, 10, 10), dtype=np.float32)
    maps[0, 3, 4] = 5
    maps[1, :2] = 1
    assert Scoring().raw_scores(maps).tolist() == [5, 1]
    top = Scoring(statistic="top_mean", top_fraction=0.1)
    assert top.raw_scores(maps).tolist() == [0.5, 1]
    one_pixel = Scoring(statistic="top_mean", top_fraction=0.001)
    assert one_pixel.raw_scores(maps).tolist() == [5, 1]


@pytest.mark.parametrize("pixels", [7, 100, 6400, 6421])
@pytest.mark.parametrize("fraction", [0.0001, 0.005, 0.02, 0.4, 1.0])
def test_the_top_mean_is_that_of_the_sorted_pixels(pixels, fraction):
    maps = np.random.default_rng(pixels).normal(size=(3, 1, pixels)).astype(np.float32)
    maps[1] = maps[1].round(1)  # many equal ones
    maps[2] = 0.25
    count = max(1, round(fraction * pixels))
    expected = np.sort(maps.reshape(3, -1))[:, -count:].mean(axis=1, dtype=np.float64)
    scores = Scoring(statistic="top_mean", top_fraction=fraction).raw_scores(maps)
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 777, 6399])
def test_one_pixel_that_is_not_finite_is_in_the_top_mean(bad, place):
    maps = np.random.default_rng(0).normal(size=(1, 80, 80)).astype(np.float32)
    maps.reshape(-1)[place] = bad
    scores = Scoring(statistic="top_mean", top_fraction=0.005).raw_scores(maps)
    assert not np.isfinite(scores).any()


def test_scoring_round_trip_and_mistakes():
    scoring = Scoring(statistic="top_mean", top_fraction=0.02, sigma=2.0)
    assert Scoring.from_dict(scoring.to_dict()) == scoring
    for wrong, message in (
        ({"statistic": "median"}, "'max' or 'top_mean', got 'median'"),
        ({"top_fraction": 0.0}, "top_fraction must be in"),
        ({"sigma": -1.0}, "sigma must be 0 to 256"),
        ({"blur": 1.0}, "Scoring has no blur"),
    ):
        with pytest.raises(ConfigError, match=message):
            Scoring.from_dict(wrong)


def regions_of(values, size=(40, 20), limit=5):
    mapped = AnomalyMap(np.asarray(values, dtype=np.float32), ImageSize(*size), 0.5)
    return find_regions(mapped, pixel_score=lambda raw: raw / 2, limit=limit)


def test_regions_in_the_geometry_of_the_input():
    values = np.zeros((10, 10))
    values[2:4, 5:8] = 0.6
    values[3, 6] = 1.0
    values[8, 1] = 0.8
    first, second = regions_of(values)  # 10x10 map on an image of height 40 and width 20
    assert first.box == (10, 8, 6, 8)
    assert first.area_px == 6 * 4 * 2
    assert first.peak == (13, 14)
    assert (first.peak_score, second.peak_score) == (0.5, pytest.approx(0.4))
    assert second.box == (2, 32, 2, 4)


def test_a_region_is_strictly_above_the_threshold_and_joins_at_corners():
    assert regions_of(np.full((4, 4), 0.5)) == ()
    values = np.zeros((4, 4))
    values[0, 0] = values[1, 1] = 0.9
    assert len(regions_of(values)) == 1


def test_regions_are_scipys_objects_by_their_maximum():
    values = gaussian_filter(np.random.default_rng(4).normal(size=(96, 80)), 2).astype(np.float32)
    threshold = float(np.quantile(values, 0.9))
    labels, count = label(values > threshold, structure=np.ones((3, 3)))
    peaks = maximum(values, labels, np.arange(1, count + 1))
    worst = np.argsort(-peaks)
    boxes = [
        (c.start, r.start, c.stop - c.start, r.stop - r.start) for r, c in find_objects(labels)
    ]
    mapped = AnomalyMap(values, ImageSize(96, 80), threshold)
    regions = find_regions(mapped, lambda value: value, limit=count)
    assert count > 10
    assert [region.box for region in regions] == [boxes[i] for i in worst]
    assert [region.peak_score for region in regions] == [float(peaks[i]) for i in worst]
    assert [region.area_px for region in regions] == [int((labels == i + 1).sum()) for i in worst]


def test_the_worst_regions_are_kept():
    values = np.zeros((9, 9))
    values[::2, ::2] = np.linspace(0.6, 1.0, 25).reshape(5, 5)
    regions = regions_of(values, limit=3)
    assert [round(region.peak_score * 2, 3) for region in regions] == [1.0, 0.983, 0.967]


def test_the_peak_has_a_region_below_the_threshold_too():
    values = np.full((8, 8), 0.1)
    values[2, 3], values[2, 4], values[6, 6] = 0.4, 0.3, 0.35
    mapped = AnomalyMap(values.astype(np.float32), ImageSize(8, 8), 0.5)
    region = peak_region(mapped, pixel_score=lambda raw: raw)
    assert (region.box, region.peak) == ((3, 2, 2, 1), (3, 2))
    assert region.peak_score == pytest.approx(0.4)


def test_a_flat_map_is_one_region_at_its_peak():
    mapped = AnomalyMap(np.full((4, 4), 0.2, dtype=np.float32), ImageSize(4, 4), 0.5)
    assert peak_region(mapped, pixel_score=lambda raw: raw).area_px == 16


def test_a_region_inside_anothers_box_does_not_count_for_it():
    values = np.zeros((7, 7))
    values[0, :] = values[:, 0] = 0.6
    values[4, 4] = 0.9
    inner, outer = regions_of(values, size=(7, 7))
    assert (inner.area_px, outer.area_px) == (1, 13)
    assert outer.box == (0, 0, 7, 7)
    assert outer.peak_score == pytest.approx(0.3)
