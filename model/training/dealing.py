"""Deals images to folds, so that each is scored by what the others taught."""

import random
from collections.abc import Sequence

from model.dataset import Sample
from model.dataset.duplicates import alike
from model.dataset.facts import look_at
from model.errors import ImageError

FOLDS = 5


def deal(samples: Sequence[Sample]) -> list[int]:
    """Return the fold of each image of a category; images that are alike share one.

    Deals at random, always to the fold with the fewest images. Raises `ImageError`.
    """
    facts = look_at(samples)
    if unreadable := [image.error for image in facts if image.error is not None]:
        raise ImageError(unreadable[0])
    groups = alike(facts)
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = sorted(members)
    random.Random("folds of the memory").shuffle(order)
    sizes = [0] * min(FOLDS, len(order))
    folds = [0] * len(samples)
    for group in sorted(order, key=lambda number: -len(members[number])):  # stable: still random
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[group])
        for index in members[group]:
            folds[index] = fold
    return folds
