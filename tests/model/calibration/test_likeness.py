"""Compares new good images with those of an earlier calibration."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibration.calibration import Calibration
from model.calibration.likeness import compare_good


def fit(scores):
    return Calibration.fit(scores, scores, 0.1)


def test_the_median_decides():
    former = fit([1.0 + n / 100 for n in range(50)])
    assert compare_good(former, [1.2, 1.3, 9.0]).is_alike
    likeness = compare_good(former, [9.0, 9.3, 1.2])
    assert not likeness.is_alike
    assert (likeness.median, likeness.low, likeness.high) == pytest.approx((9.0, 1.0, 1.49))
    assert not compare_good(former, [0.2]).is_alike


def test_the_range_of_few_images_is_widened_and_still_ends():
    former = fit([1.0, 1.1, 1.2])
    assert compare_good(former, [1.35, 1.3]).is_alike
    assert not compare_good(former, [9.26] * 5).is_alike
    assert not compare_good(fit([1.0]), [9.26] * 5).is_alike


def test_a_calibration_from_before_keeps_no_range():
    assert compare_good(replace(fit([1.0, 2.0]), good_quantiles=None), [9.0]) is None


@settings(max_examples=80, deadline=None)
@given(count=st.integers(10, 200), shift=st.floats(0, 20), seed=st.integers(0, 99))
def test_the_same_images_are_alike_and_those_beyond_are_not(count, shift, seed):
    scores = np.random.default_rng(seed).normal(2, 0.3, count)
    former = fit(scores)
    assert compare_good(former, scores).is_alike
    moved = compare_good(former, scores + shift)
    assert moved.is_alike == (np.median(scores) + shift <= scores.max())
