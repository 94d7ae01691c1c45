import numpy as np
import pytest
import scipy.ndimage
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from model.errors import NonFiniteOutput
from model.metrics import Ranking, aupro, auroc, average_precision, f1_max
from model.metrics.resampling import draw

RANKED = [auroc, average_precision, f1_max]


def literal_aupro(masks, maps, limit=0.3):
    """Try every threshold and integrate the curve, as the definition says."""
    regions = []
    for n, mask in enumerate(masks):
        labels, count = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(n, labels == k) for k in range(1, count + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        rates.append(np.mean(above[~masks]))
        overlaps.append(np.mean([np.mean(above[n][region]) for n, region in regions]))
    area = 0.0
    for x0, x1, y0, y1 in zip(rates[:-1], rates[1:], overlaps[:-1], overlaps[1:], strict=True):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + at_end) / 2
    return area / limit


def blobs(rng, images=4, side=24, strength=1.0, digits=None):
    """Random masks, and maps whose mean is higher inside them."""
    masks = scipy.ndimage.gaussian_filter(rng.normal(size=(images, side, side)), (0, 2, 2)) > 0.12
    masks[0] = False
    maps = rng.normal(size=masks.shape) + strength * masks
    maps = scipy.ndimage.gaussian_filter(maps, (0, 1, 1)).astype(np.float32)
    return masks, maps if digits is None else np.round(maps, digits)


def test_rank_metrics_by_hand():
    labels = np.array([False, False, True, True])
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(labels, scores) == pytest.approx(3 / 4)
    assert average_precision(labels, scores) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert f1_max(labels, scores) == pytest.approx(4 / 5)


@pytest.mark.parametrize("digits", [1, 6])
def test_rank_metrics_agree_with_scikit_learn(digits):
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + labels, digits)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected)
    best = max(f1_score(labels, scores >= t) for t in np.unique(scores))
    assert f1_max(labels, scores) == pytest.approx(best)


@pytest.mark.parametrize("metric", [*RANKED, aupro])
def test_perfect_and_reversed_order(metric):
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[1, 1:3, 1:3] = True
    assert metric(masks, masks.astype(np.float32)) == pytest.approx(1.0)
    assert metric(masks, 1 - masks.astype(np.float32)) < 0.5


@pytest.mark.parametrize("metric", [*RANKED, aupro])
@pytest.mark.parametrize("label", [True, False])
def test_one_kind_alone_has_no_metric(metric, label):
    assert metric(np.full((2, 3, 3), label), np.zeros((2, 3, 3))) is None
    assert metric(np.zeros((0, 3, 3), dtype=bool), np.zeros((0, 3, 3))) is None


@pytest.mark.parametrize("metric", [*RANKED, aupro])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error(metric, bad):
    masks = np.eye(3, dtype=bool)[None]
    maps = masks.astype(np.float64)
    maps[0, 0, 0] = bad
    with pytest.raises(NonFiniteOutput, match="1 of 9"):
        metric(masks, maps)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_agrees_with_its_literal_definition(seed, digits, limit):
    rng = np.random.default_rng(seed)
    masks, maps = blobs(rng, digits=digits)
    assert aupro(masks, maps, limit) == pytest.approx(literal_aupro(masks, maps, limit), abs=1e-9)


def test_aupro_by_hand():
    # Ten normal pixels score 0.0 to 0.9; one of the region's two is above all of them, one below.
    normals = np.arange(10) / 10
    maps = np.array([[*normals, 2.0, -1.0]])[None]
    masks = np.array([[*[False] * 10, True, True]])[None]
    assert aupro(masks, maps, 0.3) == pytest.approx(0.5)
    # The second pixel rises between the normal pixels 0.8 and 0.9, so it counts from a rate of 0.1.
    maps[0, 0, -1] = 0.85
    assert aupro(masks, maps, 0.3) == pytest.approx(0.5 + 0.5 * 0.2 / 0.3)


def test_aupro_of_constant_maps_is_the_diagonal():
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 2:4, 2:4] = True
    assert aupro(masks, np.zeros((1, 8, 8)), 0.3) == pytest.approx(0.15)


def test_aupro_weighs_regions_alike_whatever_their_size():
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, :10, :10] = True
    masks[0, 15, 15] = True
    maps = np.zeros((1, 20, 20))
    maps[0, :10, :10] = 1
    found_large = aupro(masks, maps, 0.3)
    maps = np.zeros((1, 20, 20))
    maps[0, 15, 15] = 1
    assert aupro(masks, maps, 0.3) == pytest.approx(found_large)


def test_aupro_joins_corners():
    masks = np.zeros((1, 6, 6), dtype=bool)
    masks[0, 1, 1] = masks[0, 2, 2] = masks[0, 3, 3] = True
    masks[0, 5, 0] = True
    maps = np.where(masks, 1.0, 0.5)
    maps[0, 5, 0] = 0.0  # one of two regions is missed, not one of four
    assert aupro(masks, maps, 0.3) == pytest.approx(0.5)


def test_aupro_leaves_its_input_alone():
    masks, maps = blobs(np.random.default_rng(1))
    before = maps.copy()
    aupro(masks, maps)
    assert np.array_equal(maps, before)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1])
def test_an_impossible_limit_is_an_error(limit):
    with pytest.raises(ValueError, match="fpr_limit"):
        aupro(np.eye(3, dtype=bool)[None], np.zeros((1, 3, 3)), limit)


def test_arrays_must_match():
    with pytest.raises(Exception, match=r"need one score per label|Type-check"):
        auroc(np.array([True, False]), np.array([1.0]))


@pytest.mark.parametrize("digits", [0, 6])
def test_weights_count_as_repetitions(digits):
    rng = np.random.default_rng(3)
    labels = rng.random(60) < 0.4
    scores = np.round(rng.normal(size=60) + labels, digits)
    weights = draw(labels, 5, seed=0)
    ranks = Ranking(labels, scores).ranks(weights)
    for row, repeats in enumerate(weights):
        again = Ranking(np.repeat(labels, repeats), np.repeat(scores, repeats)).ranks()
        assert ranks.auroc[row] == pytest.approx(again.auroc[0])
        assert ranks.average_precision[row] == pytest.approx(again.average_precision[0])
        assert ranks.f1_max[row] == pytest.approx(again.f1_max[0])


def test_the_curves_are_scikit_learns():
    rng = np.random.default_rng(4)
    labels = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + labels, 1)
    ranking = Ranking(labels, scores)
    rates, recall = ranking.roc()
    expected_rates, expected_recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert rates == pytest.approx(expected_rates)
    assert recall == pytest.approx(expected_recall)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    assert ranking.thresholds == pytest.approx(thresholds[::-1])
    assert ranking.precision_recall()[0] == pytest.approx(recall[-2::-1])
    assert ranking.precision_recall()[1] == pytest.approx(precision[-2::-1])


def stepped_aupro(masks, maps, limit=0.3, steps=100):
    """The published evaluator's way: even thresholds, low rates stretched to 0 to 1."""
    labels = [scipy.ndimage.label(mask, structure=np.ones((3, 3))) for mask in masks]
    rates, overlaps = [], []
    for threshold in np.linspace(maps.min(), maps.max(), steps, endpoint=False):
        above = maps > threshold
        region_overlaps = [
            np.mean(above[n][label == k])
            for n, (label, c) in enumerate(labels)
            for k in range(1, c + 1)
        ]
        rates.append(np.mean(above[~masks]))
        overlaps.append(np.mean(region_overlaps))
    rates, overlaps = np.array(rates)[::-1], np.array(overlaps)[::-1]
    below_limit = rates < limit
    stretched = (rates[below_limit] - rates[below_limit].min()) / (
        rates[below_limit].max() - rates[below_limit].min()
    )
    return np.trapezoid(overlaps[below_limit], stretched)


def test_the_published_way_of_aupro_comes_near_where_its_thresholds_are_dense():
    masks, maps = blobs(np.random.default_rng(2), images=8, side=48)
    assert stepped_aupro(masks, maps) == pytest.approx(aupro(masks, maps), abs=0.02)
    assert stepped_aupro(masks, maps, steps=1500) == pytest.approx(aupro(masks, maps), abs=2e-3)
