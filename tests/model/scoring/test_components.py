"""Components are those that scipy labels, whatever their shape."""

import numpy as np
import pytest
from scipy import ndimage

from model.scoring.components import Components


def labelled(components):
    labels = np.zeros(components.mask.shape, int)
    for number in range(components.count):
        labels[components.window(number)][components.inside(number)] = number + 1
    return labels


def snake(size):
    mask = np.zeros((size, size), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


@pytest.mark.parametrize("seed", range(40))
def test_they_are_scipys_objects(seed):
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 40, 2)) < random.random()
    values = random.random(mask.shape).astype(np.float32)
    expected, count = ndimage.label(mask, structure=np.ones((3, 3)))
    components = Components.of(mask)
    assert components.count == count
    labels = labelled(components)
    assert (labels > 0).tolist() == mask.tolist()
    assert len(set(zip(labels[mask], expected[mask], strict=True))) == count
    if count:
        highest = ndimage.maximum(values, labels, np.arange(1, count + 1))
        assert components.highest(values).tolist() == highest.tolist()


def test_one_that_winds_through_the_whole_map_is_one():
    assert Components.of(snake(128)).count == 1
    assert Components.of(snake(128).T).count == 1


def test_none_where_the_mask_is_empty_and_one_where_it_is_full():
    assert Components.of(np.zeros((3, 4), bool)).count == 0
    full = Components.of(np.ones((3, 4), bool))
    assert full.count == 1
    assert full.window(0) == (slice(0, 3), slice(0, 4))
    assert full.inside(0).all()


def test_they_are_numbered_by_their_first_pixels():
    mask = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], bool)
    components = Components.of(mask)
    assert [components.window(i) for i in range(3)] == [
        (slice(0, 1), slice(2, 3)),
        (slice(1, 2), slice(0, 1)),
        (slice(2, 3), slice(2, 3)),
    ]
