from contextlib import ExitStack

import numpy as np
import pytest
import scipy.ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from model.errors import ModelError, NonFiniteOutput
from model.metrics import MapSpill, aupro, measure, pixels, spill
from model.metrics.resampling import draw, interval, pixel_replicates
from model.metrics.spill import to_keys


def blobs(seed=0, images=8, side=40, digits=None):
    """Marked patches on half of the maps, whose mean is higher inside them."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(images, side, side))
    masks = scipy.ndimage.gaussian_filter(noise, (0, 2, 2)) > 0.12
    masks[::2] = False
    maps = rng.normal(size=masks.shape) + masks * rng.uniform(0, 3, size=(images, 1, 1))
    maps = scipy.ndimage.gaussian_filter(maps, (0, 1, 1)).astype(np.float32)
    return masks, maps if digits is None else np.round(maps, digits)


@pytest.fixture
def spilled():
    """Keep maps in a spill until the test ends."""
    with ExitStack() as stack:

        def spilled(masks, maps):
            map_spill = stack.enter_context(MapSpill())
            for mask, values in zip(masks, maps, strict=True):
                map_spill.add(values, mask)
            return map_spill

        yield spilled


def literal_pimo(masks, maps, low=1e-2, high=1e-1, steps=20_000):
    """Each defective image's recall, averaged over log-spaced rates on the good images."""
    good = np.sort(maps[~masks.any(axis=(1, 2))], axis=None)[::-1]
    rates = np.exp(np.linspace(np.log(low), np.log(high), steps))
    # How many good pixels a rate allows: the index of the first that must not be reached.
    allowed = np.floor(rates * len(good) + 1e-9).astype(int)
    recalls = []
    for mask, values in zip(masks, maps, strict=True):
        if mask.any():
            recall = [(values[mask] > good[n]).mean() for n in np.unique(allowed)]
            recalls.append(np.mean(np.array(recall)[np.searchsorted(np.unique(allowed), allowed)]))
    return np.array(recalls)


@pytest.fixture(params=["tables", "sorted", "mixed"])
def ranges(request, monkeypatch):
    """Count in tables of all floats, by sorting, or by the number of values."""
    monkeypatch.setattr(pixels, "_FEW", {"tables": 0, "sorted": 10**9, "mixed": 900}[request.param])
    monkeypatch.setattr(pixels, "_PART", 333)
    monkeypatch.setattr(spill, "_CHUNK", 1000)


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_streaming_agrees_with_scikit_learn_and_with_aupro_in_memory(digits, ranges, spilled):
    masks, maps = blobs(digits=digits)
    metrics = measure(spilled(masks, maps))
    labels, values = masks.ravel(), maps.ravel()
    assert metrics.auroc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    expected = average_precision_score(labels, values)
    assert metrics.average_precision == pytest.approx(expected, abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, values)
    best = np.max(2 * precision * recall / (precision + recall))
    assert metrics.f1_max == pytest.approx(best, abs=1e-12)
    assert metrics.aupro == pytest.approx(aupro(masks, maps, 0.3), abs=1e-12)
    assert metrics.aupro_5 == pytest.approx(aupro(masks, maps, 0.05), abs=1e-12)


def test_aupimo_agrees_with_its_literal_definition(ranges, monkeypatch, spilled):
    monkeypatch.setattr(pixels, "PIMO_BOUNDS", (1e-2, 1e-1))
    masks, maps = blobs(seed=3)
    metrics = measure(spilled(masks, maps))
    of_defective = metrics.image_aupimo[masks.any(axis=(1, 2))]
    assert of_defective == pytest.approx(literal_pimo(masks, maps), abs=1e-3)
    assert metrics.aupimo == pytest.approx(of_defective.mean())
    assert np.isnan(metrics.image_aupimo[::2]).all()


def test_pimo_by_hand(spilled):
    # 20,000 good pixels: the rate 1e-4 allows two of them, and 1e-5 none.
    good = np.zeros((100, 200), dtype=np.float32)
    good[0, :3] = (9.0, 8.0, 7.0)
    values, mask = np.zeros_like(good), np.zeros(good.shape, dtype=bool)
    mask[0, :4] = True
    values[0, :4] = (9.5, 8.5, 7.5, 6.5)
    metrics = measure(spilled([np.zeros_like(mask), mask], [good, values]))
    assert metrics.recall == pytest.approx(3 / 4)
    # One pixel counts at all rates; the second from 5e-5; the third only at the end.
    assert metrics.aupimo == pytest.approx((1 + np.log(2) / np.log(10)) / 4)


def test_some_images_are_measured_as_if_they_were_all(spilled):
    masks, maps = blobs(images=12)
    some = [0, 3, 4, 7, 8]
    apart = measure(spilled(masks[some], maps[some]))
    selected = measure(spilled(masks, maps), some)
    assert selected.auroc == apart.auroc
    assert selected.aupro == pytest.approx(apart.aupro, abs=1e-12)
    assert selected.aupimo == pytest.approx(apart.aupimo, abs=1e-12)


def test_metrics_that_do_not_exist_are_none(spilled):
    masks, maps = blobs()
    assert measure(spilled(np.zeros_like(masks), maps)) is None
    assert measure(spilled(np.ones_like(masks), maps)) is None
    assert measure(spilled([], [])) is None
    no_good_image = measure(spilled(masks[1::2], maps[1::2]))
    assert (no_good_image.aupimo, no_good_image.recall) == (None, None)
    assert no_good_image.aupro == pytest.approx(aupro(masks[1::2], maps[1::2]), abs=1e-12)


def test_keys_sort_as_their_values_do():
    values = np.array([-np.finfo("f4").max, -2, -1, -1e-30, 0, 1e-40, 1, 2, 3e38], dtype=np.float32)
    keys = to_keys(values)
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    assert to_keys(np.float32([-0.0])) == to_keys(np.float32([0.0]))


def test_a_map_that_is_not_finite_is_an_error(spilled):
    masks, maps = blobs()
    maps[1, 0, 0] = np.nan
    with pytest.raises(NonFiniteOutput, match="1 of 1600"):
        spilled(masks, maps)


def test_a_full_disk_says_where_and_how_much(spilled):
    map_spill = spilled([], [])

    def refuse(*_):
        raise OSError(28, "No space left on device")

    map_spill.unmarked.append = refuse
    masks, maps = blobs()
    with pytest.raises(ModelError, match=r"No space left.*TMPDIR.*4 bytes free for each pixel"):
        map_spill.add(maps[0], masks[0])


def test_resampled_metrics_are_those_of_the_images_drawn(spilled):
    masks, maps = blobs(seed=5, images=40, side=48)
    map_spill = spilled(masks, maps)
    replicates = pixel_replicates(map_spill, measure(map_spill), resamplings=4)
    for row, weights in enumerate(draw(masks.any(axis=(1, 2)), 4, seed=0)):
        drawn = np.repeat(np.arange(40), weights)
        exact = measure(spilled(masks[drawn], maps[drawn])).named()
        for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupro_5", "aupimo"):
            assert replicates[name][row] == pytest.approx(exact[name], abs=2e-3), name


def test_draws_keep_the_mix_and_repeat_by_seed():
    defective = np.arange(30) < 10
    weights = draw(defective, 50, seed=1)
    assert (weights[:, defective].sum(axis=1) == 10).all()
    assert (weights[:, ~defective].sum(axis=1) == 20).all()
    assert (weights == draw(defective, 50, seed=1)).all()
    assert (weights != draw(defective, 50, seed=2)).any()


def test_an_interval_leaves_out_as_much_on_either_side():
    low, high = interval(np.arange(1001.0), level=0.9)
    assert (low, high) == pytest.approx((50, 950))
