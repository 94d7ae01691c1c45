import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.covariance import oas
from torch.nn import functional

from model.anomaly import Scoring
from model.baseline import Baseline
from model.baselines import from_arrays, standardised, to_arrays
from model.errors import CalibrationError, ConfigError, UnknownCategory
from model.feature_baseline import FeatureBaseline
from model.residuals import residuals

SIZE, SIGMA = (32, 48), 2.0
SCORING = Scoring(distance="mahalanobis", sigma=SIGMA)


def differences(count=400, channels=5, seed=1):
    """Channels that vary together, otherwise at every place of a 4 x 6 grid."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(0, 1, (24, channels, channels))
    mean = np.random.default_rng(2).normal(0, 3, (24, channels))
    drawn = np.einsum("pcd,npd->npc", mixing, random.normal(0, 1, (count, 24, channels))) + mean
    return drawn.transpose(0, 2, 1).reshape(count, channels, 4, 6).astype(np.float32)


def fitted(values=None, sigma=0.0):
    return FeatureBaseline.fit([differences() if values is None else values], (4, 6), sigma)


def test_it_is_mahalanobis_distance_place_by_place():
    known, asked = differences(), differences(3, seed=5)
    found = fitted(known).standardise(asked)  # a map as large as the grid, and no blur
    for row in range(4):
        for column in range(6):
            good = known[:, :, row, column].astype(np.float64)
            inverse = np.linalg.inv(oas(good)[0])
            for image in range(3):
                off = asked[image, :, row, column] - good.mean(axis=0)
                expected = np.sqrt(off @ inverse @ off / 5)
                # 16 bits are precise to 0.1 %
                assert found[image, row, column] == pytest.approx(expected, rel=3e-3)


def test_good_parts_are_about_1_everywhere():
    maps = fitted().standardise(differences(300, seed=9))
    np.testing.assert_allclose(np.sqrt(np.square(maps).mean(axis=0)), 1, atol=0.25)


def test_batches_add_up_to_the_whole():
    parts = FeatureBaseline.fit(np.array_split(differences(), 7), (4, 6), 0.0)
    asked = differences(2, seed=4)
    np.testing.assert_allclose(
        parts.standardise(asked), fitted().standardise(asked), rtol=2e-3, atol=1e-3
    )


def test_maps_are_stretched_and_blurred_as_others_are():
    coarse = fitted().standardise(differences(2, seed=3))
    large = FeatureBaseline.fit([differences()], SIZE, SIGMA).standardise(differences(2, seed=3))
    stretched = functional.interpolate(
        torch.from_numpy(coarse)[:, None], SIZE, mode="bilinear", align_corners=True
    )
    expected = ndimage.gaussian_filter(stretched[:, 0].numpy(), (0, SIGMA, SIGMA))
    np.testing.assert_allclose(large, expected, atol=1e-4)


def test_fewer_images_than_channels_still_have_a_distance():
    few = fitted(differences(4))
    maps = few.standardise(differences(50, seed=7))
    assert np.isfinite(maps).all()
    assert maps.mean() > few.standardise(differences(4)).mean()


def test_a_channel_that_never_varies_stays_finite():
    values = differences()
    values[:, 2] = 0.5
    assert np.isfinite(fitted(values).standardise(differences(2, seed=3))).all()


def test_what_a_failed_network_answers_stays_not_finite():
    values = differences(3)
    values[0, 1, 2, 2], values[1, 0, 0, 0] = np.nan, np.inf
    maps = FeatureBaseline.fit([differences()], SIZE, SIGMA).standardise(values)
    assert not np.isfinite(maps[0]).all()
    assert not np.isfinite(maps[1]).all()
    assert np.isfinite(maps[2]).all()


def test_too_few_or_equal_images_are_refused():
    with pytest.raises(CalibrationError, match="at least two good images, got 1"):
        fitted(differences(1))
    with pytest.raises(CalibrationError, match="got 0"):
        FeatureBaseline.fit([], SIZE, SIGMA)
    with pytest.raises(CalibrationError, match="all good images are the same"):
        fitted(np.ones((5, 3, 2, 2), np.float32))


def test_arrays_and_back():
    baselines = {
        "a/b": FeatureBaseline.fit([differences()], SIZE, SIGMA),
        "solar": FeatureBaseline.fit([differences(50)], SIZE, SIGMA),
    }
    stored = to_arrays(baselines)
    assert stored["whitening/solar"].dtype == np.float16
    back = from_arrays(stored, SCORING, SIZE)
    asked = differences(2, seed=3)
    for category, baseline in baselines.items():
        np.testing.assert_array_equal(
            back[category].standardise(asked), baseline.standardise(asked)
        )
        assert back[category].nbytes == baseline.nbytes
    del stored["scale/solar"]
    with pytest.raises(KeyError):
        from_arrays(stored, SCORING, SIZE)
    cut = {**to_arrays(baselines), "whitening/solar": stored["whitening/solar"][:, :3]}
    with pytest.raises(ValueError, match="does not whiten"):
        from_arrays(cut, SCORING, SIZE)


def test_each_image_is_measured_by_its_own_category():
    baselines = {
        "a": FeatureBaseline.fit([differences()], SIZE, SIGMA),
        "b": FeatureBaseline.fit([differences(seed=3) + 1], SIZE, SIGMA),
    }
    asked = differences(4, seed=5)
    found = standardised(asked, ["a", "b", "b", "a"], baselines, SIZE)
    for image, category in enumerate("abba"):
        alone = baselines[category].standardise(asked[image : image + 1])
        np.testing.assert_allclose(found[image : image + 1], alone, rtol=1e-5)
    with pytest.raises(UnknownCategory, match="no baseline for c"):
        standardised(asked, ["a", "b", "c", "a"], baselines, SIZE)


def test_differences_are_of_the_scales_with_a_weight_on_the_coarsest_grid():
    torch.manual_seed(0)
    shapes = [(2, 3, 16, 16), (2, 4, 8, 8), (2, 5, 4, 4)]
    teacher, student = ([torch.randn(shape) for shape in shapes] for _ in range(2))
    found = residuals(teacher, student, (0.5, 0.0, 2.0))
    assert found.shape == (2, 8, 4, 4)
    fine = (teacher[0] - student[0]).reshape(2, 3, 4, 4, 4, 4).mean(dim=(3, 5))
    expected = torch.cat([fine, teacher[2] - student[2]], dim=1)
    torch.testing.assert_close(found[:, :, 1, 2], expected[:, :, 0:3, 1:4].mean(dim=(2, 3)))
    assert residuals(teacher, student, (0.0, 1.0, 0.0)).shape == (2, 4, 8, 8)
    torch.testing.assert_close(found[:, :, 0, 0], expected[:, :, :2, :2].mean(dim=(2, 3)))


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
    with pytest.raises(KeyError):
        from_arrays(stored, SCORING, SIZE)
