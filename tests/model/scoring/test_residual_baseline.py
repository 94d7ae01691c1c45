from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.covariance import oas
from torch.nn import functional

from model.errors import CalibrationError, ConfigError, UnknownCategory
from model.scoring.baselines import from_arrays, standardised, to_arrays
from model.scoring.gaussians import Gaussians
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring

SIZE, SIGMA = (32, 48), 2.0
SHAPES = ((3, 8, 12), (5, 4, 6), (20, 2, 3))
"""Three scales; the last one has enough channels for two stairs."""
WEIGHTS = (1.0, 0.0, 3.0)
SCORING = Scoring(distance="mahalanobis", sigma=SIGMA, scale_weights=WEIGHTS)


def drawn(shape, count, seed):
    """Channels that vary together, differently at each grid place: (count, C, h, w)."""
    channels, height, width = shape
    places = height * width
    mixing = np.random.default_rng(0).normal(0, 1, (places, channels, channels))
    mean = np.random.default_rng(2).normal(0, 3, (places, channels))
    values = np.random.default_rng(seed).normal(0, 1, (count, places, channels))
    mixed = np.einsum("pcd,npd->npc", mixing, values) + mean
    return mixed.transpose(0, 2, 1).reshape(count, *shape).astype(np.float32)


def used(count=400, seed=1):
    """The differences of the two scales with weight."""
    return [drawn(SHAPES[0], count, seed), drawn(SHAPES[2], count, seed + 100)]


def flat(parts):
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def differences(count=400, seed=1):
    return flat(used(count, seed))


def fitted(values=None, weights=WEIGHTS, size=SIZE, sigma=SIGMA):
    batches = [differences() if values is None else values]
    return FeatureBaseline.fit(batches, SHAPES, weights, size, sigma)


def literal_distances(good_parts, new_parts):
    """Mahalanobis distances in double precision, place by place: (B, h, w)."""
    channels = good_parts.shape[1]
    distances = np.empty((len(new_parts), *good_parts.shape[2:]))
    for row, column in np.ndindex(*good_parts.shape[2:]):
        good = good_parts[:, :, row, column].astype(np.float64)
        inverse = np.linalg.inv(oas(good)[0])
        off = new_parts[:, :, row, column] - good.mean(axis=0)
        distances[:, row, column] = np.sqrt(np.einsum("bi,ij,bj->b", off, inverse, off) / channels)
    return distances


def spread(distances, size=SIZE, sigma=SIGMA):
    """Resize and blur maps (B, h, w) by torch and SciPy."""
    maps = torch.from_numpy(distances)[:, None]
    large = functional.interpolate(maps, size, mode="bilinear", align_corners=True)
    return ndimage.gaussian_filter(large[:, 0].numpy(), (0, sigma, sigma))


def test_each_scale_is_measured_by_mahalanobis_distance_place_by_place():
    baseline = fitted()
    good_parts, new_parts = used(), used(3, seed=5)
    for scale, good, new in zip(baseline.scales, good_parts, new_parts, strict=True):
        distances = np.stack([scale.distances(part) for part in new])
        # 16 bits are precise to 0.1 %
        np.testing.assert_allclose(distances, literal_distances(good, new), rtol=3e-3)


@pytest.mark.parametrize("weights", [WEIGHTS, (1.0, 0.0, 1.0), (5.0, 0.0, 0.5)])
def test_the_map_is_the_scales_weighted_mean_resized_and_blurred(weights):
    fine, coarse = (
        spread(literal_distances(good, new))
        for good, new in zip(used(), used(3, seed=5), strict=True)
    )
    actual = fitted(weights=weights).standardise(differences(3, seed=5))
    expected = (weights[0] * fine + weights[2] * coarse) / (weights[0] + weights[2])
    np.testing.assert_allclose(actual, expected, rtol=3e-3)


def test_one_scale_alone_is_its_own_map_whatever_its_weight():
    good, new = (drawn(SHAPES[1], count, seed) for count, seed in ((400, 1), (2, 5)))
    expected = spread(literal_distances(good, new), (4, 6), 0.0)
    for weight in (0.25, 7.0):
        alone = fitted(flat([good]), (0.0, weight, 0.0), (4, 6), 0.0)
        np.testing.assert_allclose(alone.standardise(flat([new])), expected, rtol=3e-3)


def test_good_parts_are_about_1_everywhere():
    for scale, new in zip(fitted().scales, used(300, seed=9), strict=True):
        squares = np.mean([np.square(scale.distances(part)) for part in new], axis=0)
        np.testing.assert_allclose(np.sqrt(squares), 1, atol=0.25)


def test_batches_add_up_to_the_whole():
    batches = np.array_split(differences(), 7)
    parts = FeatureBaseline.fit(batches, SHAPES, WEIGHTS, SIZE, SIGMA)
    new = differences(2, seed=4)
    np.testing.assert_allclose(
        parts.standardise(new), fitted().standardise(new), rtol=2e-3, atol=1e-3
    )


def test_fewer_images_than_channels_still_have_a_distance():
    few = fitted(differences(4))
    maps = few.standardise(differences(50, seed=7))
    assert np.isfinite(maps).all()
    assert maps.mean() > few.standardise(differences(4)).mean()


def test_a_channel_that_never_varies_stays_finite():
    fine, coarse = used()
    fine[:, 2] = 0.5
    assert np.isfinite(fitted(flat([fine, coarse])).standardise(differences(2, seed=3))).all()


def test_what_a_failed_network_answers_stays_not_finite():
    fine, coarse = used(3)
    fine[0, 1, 2, 2], coarse[1, 0, 0, 0] = np.nan, np.inf
    maps = fitted().standardise(flat([fine, coarse]))
    assert not np.isfinite(maps[0]).all()
    assert not np.isfinite(maps[1]).all()
    assert np.isfinite(maps[2]).all()


def test_too_few_or_equal_images_are_refused():
    with pytest.raises(CalibrationError, match="at least two good images, got 1"):
        fitted(differences(1))
    with pytest.raises(CalibrationError, match="got 0"):
        FeatureBaseline.fit([], SHAPES, WEIGHTS, SIZE, SIGMA)
    with pytest.raises(CalibrationError, match="all good images are equal"):
        fitted(np.ones_like(differences(5)))


def test_differences_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"need 408 differences an image, got 407"):
        fitted(differences()[:, 1:])
    with pytest.raises(ValueError, match=r"need 408 differences an image, got 409"):
        fitted().standardise(np.zeros((2, 409), np.float32))


def test_arrays_and_back():
    baselines = {"a/b": fitted(), "solar": fitted(differences(50))}
    stored = to_arrays(baselines)
    assert stored["whitening_1/solar"].dtype == np.float16
    back = from_arrays(stored, SCORING, SIZE)
    new = differences(2, seed=3)
    for category, baseline in baselines.items():
        np.testing.assert_array_equal(back[category].standardise(new), baseline.standardise(new))
        assert back[category].nbytes == baseline.nbytes


def test_arrays_that_do_not_fit_are_refused():
    stored = to_arrays({"solar": fitted()})
    one_grid = {f"{what}/solar": np.zeros(1) for what in ("mean", "scale", "whitening")}
    with pytest.raises(ValueError, match=r"baseline of 2 scales needs .*; got mean, scale, whit"):
        from_arrays(one_grid, SCORING, SIZE)
    less = {name: array for name, array in stored.items() if name != "unit_1/solar"}
    with pytest.raises(ValueError, match="unit_1"):
        from_arrays(less, SCORING, SIZE)
    with pytest.raises(ValueError, match="baseline of 3 scales needs"):
        from_arrays(stored, replace(SCORING, scale_weights=(1.0, 1.0, 1.0)), SIZE)
    whitening, unit = stored["whitening_1/solar"], stored["unit_1/solar"]
    for cut in (
        {"whitening_1/solar": whitening[:, :-1]},
        {"whitening_1/solar": whitening[:-1], "unit_1/solar": unit[:-1]},
    ):
        with pytest.raises(ValueError, match="do not fit mean"):
            from_arrays({**stored, **cut}, SCORING, SIZE)


def test_each_image_is_measured_by_its_own_category():
    baselines = {"a": fitted(), "b": fitted(differences(seed=3) + 1)}
    new = differences(4, seed=5)
    actual = standardised(new, ["a", "b", "b", "a"], baselines, SIZE)
    for image, category in enumerate("abba"):
        alone = baselines[category].standardise(new[image : image + 1])
        np.testing.assert_allclose(actual[image : image + 1], alone, rtol=1e-5)
    with pytest.raises(UnknownCategory, match="no baseline for c"):
        standardised(new, ["a", "b", "c", "a"], baselines, SIZE)


def literally_smooth(values):
    """Average the existing neighbours by a binomial kernel: (C, h, w)."""
    _, height, width = values.shape
    smoothed = np.empty_like(values)
    for row, column in np.ndindex(height, width):
        total, weights = 0.0, 0.0
        for down, across in product((-1, 0, 1), repeat=2):
            y, x = row + down, column + across
            if 0 <= y < height and 0 <= x < width:
                weight = (2 - abs(down)) * (2 - abs(across))
                total, weights = total + weight * values[:, y, x], weights + weight
        smoothed[:, row, column] = total / weights
    return smoothed


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_differences_are_smoothed_on_their_own_grids_and_laid_end_to_end(layout):
    torch.manual_seed(0)
    shapes = [(2, 3, 8, 6), (2, 4, 4, 3), (2, 5, 2, 2)]
    teacher, student = (
        [torch.randn(shape).contiguous(memory_format=layout) for shape in shapes] for _ in range(2)
    )
    actual = residuals(teacher, student, (0.5, 0.0, 2.0))
    fine, coarse = ((teacher[k] - student[k]).numpy() for k in (0, 2))
    expected = [flat([np.stack(list(map(literally_smooth, d)))]) for d in (fine, coarse)]
    np.testing.assert_allclose(actual, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)
    assert residuals(teacher, student, (0.0, 1.0, 0.0)).shape == (2, 4 * 4 * 3)


def test_what_is_the_same_everywhere_stays_so_up_to_the_edges():
    teacher = [torch.full((1, 2, 4, 6), 3.0)]
    actual = residuals(teacher, [torch.zeros(1, 2, 4, 6)], (1.0,))
    torch.testing.assert_close(actual, torch.full((1, 48), 3.0))
    assert (teacher[0] == 3).all()  # unchanged


def test_scoring_by_places_does_not_go_with_measuring_them_twice():
    assert SCORING.uses_baselines
    assert not Scoring().uses_baselines
    assert Scoring(standardise=True).uses_baselines
    with pytest.raises(ConfigError, match="set one of the two"):
        Scoring(distance="mahalanobis", standardise=True)
    with pytest.raises(ConfigError, match="distance must be one of"):
        Scoring(distance="euclidean")


def test_the_kinds_are_not_mistaken_for_each_other():
    maps = np.random.default_rng(0).normal(2, 0.5, (20, *SIZE)).astype(np.float32)
    stored = to_arrays({"a": Baseline.fit([maps])})
    assert isinstance(from_arrays(stored, Scoring(standardise=True), SIZE)["a"], Baseline)
    with pytest.raises(ValueError, match="got deviation, mean"):
        from_arrays(stored, SCORING, SIZE)


def test_what_is_stored_comes_back_bit_by_bit_although_one_copy_is_kept():
    random = np.random.default_rng(8)
    whitening = random.normal(size=(6, 210)).astype(np.float16)
    whitening[:, ::3] *= np.float16(1e-5)  # some are subnormal
    unit = random.uniform(1e-3, 1e3, 6).astype(np.float32)
    mean = random.normal(size=(20, 2, 3)).astype(np.float32)
    restored = Gaussians.from_arrays(mean, whitening, unit)
    assert np.array_equal(restored.whitening, whitening)
    assert restored.whitening.dtype == np.float16
    expected = np.zeros((6, 20, 20), np.float32)
    expected[:, *np.tril_indices(20)] = whitening.astype(np.float32) * unit[:, None]
    assert np.array_equal(restored.matrices, expected)
    assert restored.nbytes < 6 * 20 * 20 * 4 + mean.nbytes + unit.nbytes
