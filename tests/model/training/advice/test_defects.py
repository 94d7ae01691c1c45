"""Defects are drawn inside the inspected area, and nowhere else."""

import numpy as np
import pytest

from model.synthetic import Kind, Strength
from model.training.advice.defects import LARGEST_WINDOW_PX, draw_inside


def surface(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(80, 170, (3, height // 4, width // 4), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.mark.parametrize("kind", Kind)
def test_only_inspected_pixels_change_and_the_seed_fixes_them(kind):
    picture = surface(128, 96)
    inside = np.zeros((128, 96), bool)
    inside[20:90, 30:] = True
    first, again = (draw_inside(picture, inside, kind, (3, 1)) for _ in range(2))
    for strength in Strength:
        changed = (first[strength] != picture).any(axis=0)
        assert changed.any()
        assert not (changed & ~inside).any()
        assert np.array_equal(first[strength], again[strength])
    difference = [np.abs(first[s].astype(int) - picture).sum() for s in Strength]
    assert difference == sorted(difference)


def test_a_defect_in_a_large_picture_is_no_larger_than_its_window():
    picture = surface(1200, 1600)
    drawn = draw_inside(picture, None, Kind.STAIN, (1,))[Strength.STRONG]
    rows, columns = np.nonzero((drawn != picture).any(axis=0))
    assert np.ptp(rows) < LARGEST_WINDOW_PX / 2
    assert np.ptp(columns) < LARGEST_WINDOW_PX / 2
    places = [draw_inside(picture, None, Kind.STAIN, (seed,)) for seed in range(2, 5)]
    centres = {
        tuple(np.argwhere((place[Strength.STRONG] != picture).any(axis=0)).mean(axis=0).round())
        for place in places
    }
    assert len(centres) == 3


def test_a_defect_that_would_not_be_visible_is_none():
    assert draw_inside(np.full((3, 64, 64), 128, np.uint8), None, Kind.SMEAR, (0,)) is None
