import numpy as np
import pytest

from model.errors import CalibrationError
from model.scoring.baselines import from_arrays, to_arrays
from model.scoring.map_baseline import DEVIATION_FLOOR, Baseline
from model.scoring.scores import Scoring


def maps(count=20):
    return np.random.default_rng(3).normal(2, 0.5, (count, 4, 6)).astype(np.float32)


def test_batches_add_up_to_the_whole():
    at_once, parts = Baseline.fit([maps()]), Baseline.fit(np.array_split(maps(), 7))
    np.testing.assert_allclose(parts.mean, at_once.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.deviation, at_once.deviation, rtol=1e-6)
    np.testing.assert_allclose(at_once.mean, maps().mean(axis=0), rtol=1e-5)
    deviation = maps().std(axis=0)
    np.testing.assert_allclose(
        at_once.deviation, deviation + DEVIATION_FLOOR * deviation.mean(), rtol=1e-4
    )


def test_a_defect_stands_out_more_where_parts_vary_less():
    quiet = maps()
    quiet[:, 0, 0] = 2 + 0.01 * (quiet[:, 0, 0] - 2)
    baseline = Baseline.fit([quiet])
    part = baseline.mean + 1
    standardised = baseline.standardise(part)
    assert standardised[0, 0] == standardised.max()
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(baseline.standardise(baseline.mean), 0, atol=1e-6)


def test_a_place_that_never_varies_stays_finite():
    still = maps()
    still[:, 1, 1] = 0.25
    values = Baseline.fit([still]).standardise(still[0] + 1)
    assert np.isfinite(values).all()


def test_too_few_or_equal_maps_are_refused():
    with pytest.raises(CalibrationError, match="at least two good images, got 1"):
        Baseline.fit([maps(1)])
    with pytest.raises(CalibrationError, match="got 0"):
        Baseline.fit([])
    with pytest.raises(CalibrationError, match="all good maps are equal"):
        Baseline.fit([np.ones((3, 2, 2), dtype=np.float32)])


def test_arrays_and_back():
    baselines = {"solar-mono": Baseline.fit([maps()]), "a.b": Baseline.fit([maps(5)])}
    scoring = Scoring(standardise=True)
    back = from_arrays(to_arrays(baselines), scoring, (4, 6))
    assert set(back) == set(baselines)
    for category, baseline in baselines.items():
        np.testing.assert_array_equal(back[category].mean, baseline.mean)
        np.testing.assert_array_equal(back[category].deviation, baseline.deviation)
    half = to_arrays(baselines)
    del half["deviation/a.b"]
    with pytest.raises(KeyError):
        from_arrays(half, scoring, (4, 6))
