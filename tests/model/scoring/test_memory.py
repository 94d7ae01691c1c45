"""A memory of good parts, and its map beside the decoder's, by hand and in double precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from model.errors import CalibrationError, ConfigError, UnknownCategory
from model.scoring.baselines import from_arrays, standardised, to_arrays
from model.scoring.fused_baseline import FusedBaseline, decoder_maps, scale_of
from model.scoring.map_baseline import Baseline, MapMoments
from model.scoring.memory import Memory
from model.scoring.patches import patch_features, with_patches
from model.scoring.residual_baseline import FeatureBaseline, FeatureMoments
from model.scoring.scores import Scoring
from model.scoring.whitening import partial_whitening

GRID, SIZE, CHANNELS = (4, 8), (32, 64), 5
FEATURES = CHANNELS * GRID[0] * GRID[1]
SCALE = np.array([[0.2, 0.7], [1.0, 3.0]], np.float32)


def random(*shape, seed=0, at=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + at).astype(np.float32)


TRANSFORM = (np.eye(CHANNELS) + 0.3 * random(CHANNELS, CHANNELS, seed=9)).astype(np.float32)


def memory(patches=17, sigma=2.0, at=0.0):
    return Memory(random(patches, CHANNELS, at=at), TRANSFORM, GRID, SIZE, sigma)


def nearest(features, made):
    """The distances (n,) of places (n, C), in double precision."""
    transform = made.transform.astype(float)
    return cdist(features @ transform.T, made.patches.astype(float) @ transform.T).min(axis=1)


@pytest.mark.parametrize("grid", [(4, 8), (32, 33)])
@pytest.mark.parametrize("patches", [1, 300])
def test_distances_are_those_to_the_nearest_patch(grid, patches):
    made = Memory(random(patches, CHANNELS), TRANSFORM, grid, (8 * grid[0], 8 * grid[1]), 4.0)
    features = random(3, CHANNELS, *grid, seed=1)
    places = features.reshape(3, CHANNELS, -1).transpose(0, 2, 1)
    exact = [nearest(x.astype(float), made) for x in places]
    distances = made.distances(features)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances.reshape(3, -1), exact, atol=1e-5)


def test_distances_survive_features_that_are_alike():
    """|x|^2 + |p|^2 - 2xp would be 0 or wrong by 100 % here, in 16 bits and in 32."""
    made = memory(40, at=3000.0)
    features = random(1, CHANNELS, *GRID, seed=1, at=3000.0)
    places = features.reshape(CHANNELS, -1).T.astype(float)
    exact = nearest(places, made)
    np.testing.assert_allclose(made.distances(features).ravel(), exact, rtol=1e-3)


def test_a_remembered_patch_is_at_distance_0():
    made = memory(32)
    features = made.patches.T.reshape(1, CHANNELS, *GRID)
    assert made.distances(features).max() < 2e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_no_small_distance(value):
    features = random(2, CHANNELS, *GRID)
    features[1, 2, 3, 4] = value
    maps = memory().maps(features.reshape(2, -1))
    assert np.isfinite(maps[0]).all()
    assert not np.isfinite(maps[1]).all()


def test_a_map_is_resized_and_blurred():
    made = memory(sigma=3.0)
    features = random(2, FEATURES)
    grid = torch.from_numpy(made.distances(features.reshape(2, CHANNELS, *GRID)))
    wide = torch.nn.functional.interpolate(
        grid[:, None], size=SIZE, mode="bilinear", align_corners=True
    )
    expected = gaussian_filter(wide[:, 0].numpy(), (0, 3, 3), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(made.maps(features), expected, atol=1e-5)


def test_patches_that_cannot_be_measured_are_refused():
    for patches in (np.zeros((0, 3), np.float32), np.full((2, 3), np.nan, np.float32)):
        with pytest.raises(ValueError, match="patches of finite numbers"):
            Memory(patches, np.eye(3, dtype=np.float32), GRID, SIZE, 4.0)


def test_a_transform_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a transform of finite numbers"):
        Memory(random(3, 5), np.full((5, 5), np.inf, np.float32), GRID, SIZE, 4.0)


def test_partial_whitening_evens_out_variances_half_way():
    mixing = np.diag([10.0, 3.0, 1.0, 0.1]) @ np.linalg.qr(random(4, 4).astype(float))[0]
    patches = (random(5000, 4, seed=1) @ mixing + 7).astype(np.float32)
    white = patches @ partial_whitening(patches).T
    spread = np.linalg.eigvalsh(np.cov(patches.T))
    expected = spread / np.sqrt(spread / spread.mean() + 1e-4)
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(white.T)), expected, rtol=2e-2)


def test_partial_whitening_of_equal_patches_changes_nothing():
    np.testing.assert_array_equal(partial_whitening(np.ones((4, 3), np.float32)), np.eye(3))


def test_patches_are_averaged_and_on_the_middle_grid():
    teacher = [torch.randn(2, c, n, n) for c, n in ((2, 16), (3, 8), (4, 4))]
    features = patch_features(teacher)
    assert features.shape == (2, 7, 8, 8)
    inner = teacher[1][1, 2, 3:6, 4:7].mean()
    assert float(features[1, 2, 4, 5]) == pytest.approx(float(inner), abs=1e-6)
    corner = teacher[1][0, 0, :2, :2].sum() / 9
    assert float(features[0, 0, 0, 0]) == pytest.approx(float(corner), abs=1e-6)
    half = patch_features([t.bfloat16() for t in teacher])
    assert half.dtype == torch.float32
    rows = with_patches(torch.zeros(2, 3, 5), teacher)
    assert torch.equal(rows[:, 15:], features.flatten(1))


def test_the_fused_map_is_the_sum_of_both_on_their_scales():
    made = memory()
    fused = FusedBaseline(None, made, SCALE, 0.5)
    values = random(3, SIZE[0] * SIZE[1] + FEATURES, seed=2)
    a, b = values[:, : SIZE[0] * SIZE[1]].reshape(3, *SIZE), made.maps(values[:, -FEATURES:])
    expected = (a - 0.2) / (0.7 - 0.2) + 0.5 * (b - 1) / (3 - 1)
    before = values.copy()
    np.testing.assert_allclose(fused.standardise(values), expected, rtol=1e-4, atol=1e-5)
    assert (values == before).all()
    with pytest.raises(ValueError, match="needs more than"):
        fused.standardise(values[:, :FEATURES])


def baselines():
    maps = random(5, *SIZE, seed=3)
    shapes = ((2, 8, 16), (3, 4, 8), (2, 2, 4))
    weights = (0.0, 1.0, 2.0)
    gaussians = FeatureBaseline.fit([random(9, 112, seed=4)], shapes, weights, SIZE, 2.0)
    return [
        (Scoring(memory=20, sigma=2.0, memory_weight=0.5), None, SIZE[0] * SIZE[1]),
        (
            Scoring(memory=20, sigma=2.0, memory_weight=0.5, standardise=True),
            Baseline.fit([maps]),
            SIZE[0] * SIZE[1],
        ),
        (
            Scoring(
                memory=20, sigma=2.0, memory_weight=0.5, distance="mahalanobis",
                scale_weights=weights,
            ),
            gaussians,
            112,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(("scoring", "decoder", "length"), baselines())
def test_every_baseline_is_measured_before_it_is_added_and_stored(scoring, decoder, length):
    fused = {
        "bolt": FusedBaseline(decoder, memory(), SCALE, 0.5),
        "nut": FusedBaseline(decoder, memory(9), SCALE * 2, 0.5),
    }
    values = random(3, length + FEATURES, seed=5)
    a = decoder_maps(decoder, values[:, :length].copy(), SIZE)
    b = memory().maps(values[:, length:])
    expected = (a - 0.2) / 0.5 + 0.5 * (b - 1) / 2
    np.testing.assert_allclose(fused["bolt"].standardise(values), expected, rtol=1e-4, atol=1e-4)
    stored = to_arrays(fused)
    restored = from_arrays(stored, scoring, SIZE)
    names = ["bolt", "nut", "bolt"]
    maps = standardised(values, names, restored, SIZE)
    assert (maps == standardised(values, names, fused, SIZE)).all()
    assert (maps[[1]] == fused["nut"].standardise(values[[1]])).all()
    assert restored["nut"].nbytes == fused["nut"].nbytes > memory(9).patches.nbytes
    with pytest.raises(UnknownCategory, match="no baseline for cog"):
        standardised(values[:1], ["cog"], fused, SIZE)
    del stored["scale/nut"]
    with pytest.raises(KeyError):
        from_arrays(stored, scoring, SIZE)


@pytest.mark.parametrize(
    "scale", [[[0, 1], [1, 1]], [[0, np.nan], [0, 1]], [[0, 1], [2, 1]], [[0, 1e31], [0, 1]]]
)
def test_a_scale_that_does_not_rise_is_refused(scale):
    with pytest.raises(ValueError, match="a median and a higher value"):
        FusedBaseline(None, memory(), np.array(scale, np.float32), 1.0)


def test_the_scale_is_of_all_pixels_together():
    pixels = random(1000)
    median, high = scale_of([pixels[:300], pixels[300:]])
    assert (median, high) == pytest.approx(np.quantile(pixels, [0.5, 0.995]), rel=1e-6)
    with pytest.raises(CalibrationError, match="add different good images"):
        scale_of([np.ones(9, np.float32)])


def test_moments_add_up():
    maps, differences = random(7, *SIZE, at=50), random(7, 2 * 32, at=50)
    shapes = ((1, 1, 1), (2, 4, 8), (1, 1, 1))
    made = (shapes, (0.0, 1.0, 0.0), SIZE, 2.0)
    for moments, values, expected in (
        (MapMoments, maps, Baseline.fit([maps])),
        (lambda: FeatureMoments(*made), differences, FeatureBaseline.fit([differences], *made)),
    ):
        total = moments()
        for part in (values[:3], values[:0], values[3:]):
            some = moments()
            if len(part):
                some.add(part)
            total.include(some)
        for name, array in expected.to_arrays().items():
            actual = total.baseline().to_arrays()[name].astype(float)
            np.testing.assert_allclose(actual, array.astype(float), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "changes",
    [{"memory": -1}, {"memory": 2001}, {"memory_weight": 0.0}, {"memory_weight": float("nan")}],
)
def test_a_memory_has_bounds(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Scoring(**changes)


def test_a_scoring_without_a_memory_is_stored_as_before():
    assert set(Scoring().to_dict()) == {
        "statistic", "top_fraction", "sigma", "scale_weights", "standardise", "distance",
    }  # fmt: skip
    scoring = Scoring(memory=3, memory_weight=2.0)
    assert Scoring.from_dict(scoring.to_dict()) == scoring
    assert (scoring.uses_baselines, scoring.needs_alignment) == (True, False)
    assert replace(scoring, standardise=True).needs_alignment
