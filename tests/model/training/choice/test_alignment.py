"""Parts that lie the same way are told from textures, with few images too."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from model.training.choice.alignment import THRESHOLD, asymmetry, measure, share


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def textures(count, seed=0, height=16, width=16, smooth=3):
    """Random maps whose neighbours are alike, as features of a texture are."""
    maps = noise(seed, count, 24, height + smooth - 1, width + smooth - 1)
    return avg_pool2d(maps, smooth, stride=1) * smooth


def mirrored(maps):
    """The features of mirrored images, for an encoder that mirrors with them."""
    return {"hflip": maps.flip(-1), "vflip": maps.flip(-2)}


def measured(maps):
    return measure(maps, mirrored(maps))


def pattern(seed=1):
    return textures(1, seed)


@pytest.mark.parametrize("size", [(16, 16), (8, 32)], ids=["square", "wide"])
@pytest.mark.parametrize("count", [5, 10, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_textures_are_not_aligned(count, size, seed):
    alignment = measured(textures(count, seed, *size))
    assert abs(alignment.share) < THRESHOLD * 0.75
    assert not alignment.is_aligned
    assert not alignment.is_aligned_but_mirrored
    assert alignment.mirrors("hflip")
    assert alignment.mirrors("vflip")


@pytest.mark.parametrize("count", [5, 50])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_the_share_is_that_of_what_all_images_have_in_common(strength, count):
    alignment = measured(strength * pattern() + textures(count))
    assert alignment.share == pytest.approx(strength**2 / (1 + strength**2), abs=0.08)
    assert alignment.is_aligned
    assert alignment.share > alignment.by_chance


def test_a_brightness_that_varies_by_image_or_place_free_gain_changes_nothing():
    maps = pattern() + textures(10)
    brighter = maps + 100 * noise(3, 10, 24, 1, 1)
    assert share(brighter) == pytest.approx(share(maps), abs=1e-3)


def test_few_images_of_a_periodic_texture_are_not_aligned_by_chance():
    rows = torch.arange(16).view(1, 1, 16, 1) * 0.8
    for seed in range(5):
        phases = 6.28 * torch.rand((3, 1, 1, 1), generator=torch.Generator().manual_seed(seed))
        maps = torch.cos(rows + phases).expand(3, 24, 16, 16) + 0.1 * textures(3, seed)
        assert not measured(maps).is_aligned


def test_parts_that_are_equal_are_aligned_and_parts_without_features_are_not():
    assert measured(pattern().repeat(4, 1, 1, 1)).share == pytest.approx(1)
    constant = measured(torch.ones(4, 24, 16, 16))
    assert (constant.share, constant.left_right) == (0, 0)
    assert not constant.is_aligned


def test_the_smallest_maps_have_a_measure():
    for size in [(2, 2), (4, 2), (3, 16)]:
        assert measured(noise(0, 5, 8, *size)).images == 5


def test_asymmetry_is_that_of_the_average_part():
    even = pattern() + pattern().flip(-1)
    parts = even + textures(20)
    assert asymmetry(parts, parts.flip(-1)) == pytest.approx(0, abs=0.03)
    odd = pattern() + textures(20)
    assert asymmetry(odd, odd.flip(-1)) == pytest.approx(1, abs=0.3)


def test_a_symmetric_part_may_be_mirrored_only_that_way():
    even = pattern() + pattern().flip(-1)
    alignment = measured(even + 0.5 * textures(20))
    assert alignment.is_aligned
    assert alignment.mirrors("hflip")
    assert not alignment.mirrors("vflip")


def test_parts_that_are_mirrored_at_random_are_told():
    parts = 3 * pattern() + textures(20)
    flips = torch.rand(20, generator=torch.Generator().manual_seed(4)) < 0.5
    mixed = torch.where(flips.view(-1, 1, 1, 1), parts.flip(-1), parts)
    # A part has half of its variance in common with its mirror image here.
    centred = mixed - (pattern() + pattern().flip(-1)) * 1.5
    alignment = measured(centred)
    assert alignment.is_aligned_but_mirrored
    assert not alignment.is_aligned
    assert alignment.mirrors("hflip")
    assert measured(3 * pattern() + textures(20)).is_aligned
