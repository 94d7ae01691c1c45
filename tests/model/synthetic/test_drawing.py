"""Drawn defects: true masks, ordered strengths, the same each time."""

import numpy as np
import pytest

from model.errors import DatasetError
from model.synthetic import VISIBLE, Kind, Size, Strength, draw


@pytest.fixture(scope="module")
def surface():
    rng = np.random.default_rng(5)
    coarse = rng.uniform(70, 180, (24, 32, 3))
    return np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1).round().astype(np.uint8)


def distance(drawn, image):
    return np.abs(drawn.image.astype(int) - image).max(axis=-1)


@pytest.mark.parametrize("kind", Kind)
def test_a_mask_has_every_visible_change_and_little_else(kind, surface):
    for strength in Strength:
        drawn = draw(surface, kind, strength, (3,))
        changed = distance(drawn, surface) > VISIBLE
        assert not (changed & ~drawn.mask).any()
        assert changed.sum() > 0.5 * drawn.mask.sum()
        assert 0 < drawn.mask.mean() < Size.ORDINARY.shares[1]


@pytest.mark.parametrize("kind", Kind)
def test_a_stronger_defect_changes_the_same_place_more(kind, surface):
    faint, medium, strong = (draw(surface, kind, strength, (4,)) for strength in Strength)
    changes = [distance(drawn, surface).sum() for drawn in (faint, medium, strong)]
    assert 0 < changes[0] < changes[1] < changes[2]
    assert (faint.mask & strong.mask).sum() > 0.8 * faint.mask.sum()


@pytest.mark.parametrize("kind", Kind)
def test_the_seed_fixes_the_defect(kind, surface):
    first, again, other = (draw(surface, kind, Strength.MEDIUM, (s,)) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("kind", Kind)
def test_a_small_defect_covers_less_than_a_thousandth(kind, surface):
    large = np.tile(surface, (2, 2, 1))
    mask = draw(large, kind, Strength.STRONG, (6,), Size.SMALL).mask
    assert 0 < mask.mean() < 0.001


def test_a_grey_image_stays_grey(surface):
    grey = np.repeat(surface[..., :1], 3, axis=-1)
    for kind in Kind:
        image = draw(grey, kind, Strength.STRONG, (7,)).image
        assert (image == image[..., :1]).all()


def test_a_blank_image_cannot_be_smeared():
    blank = np.full((64, 64, 3), 128, np.uint8)
    with pytest.raises(DatasetError, match="cannot draw the defect 'smear'"):
        draw(blank, Kind.SMEAR, Strength.STRONG, (1,))
    assert draw(blank, Kind.HOLE, Strength.FAINT, (1,)).mask.any()
