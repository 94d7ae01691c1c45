"""Deals images to folds, so that each is scored by what the others taught."""

import random
from collections.abc import Sequence

from model.dataset import Sample
from model.dataset.duplicates import alike

FOLDS = 5


def deal(samples: Sequence[Sample]) -> list[int]:
    """Return the fold of each image of a category; images that are alike share one.

    Deals at random, always to the fold with the fewest images.
    """
    index = {sample: number for number, sample in enumerate(samples)}
    together = [sorted(index[sample] for sample in group) for group in alike(samples)]
    alone = set(index.values()).difference(*together)
    groups = sorted([*together, *([number] for number in alone)])
    random.Random("folds of the memory").shuffle(groups)
    sizes = [0] * min(FOLDS, len(groups))
    folds = [0] * len(samples)
    for group in sorted(groups, key=len, reverse=True):  # stable: still random
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        for number in group:
            folds[number] = fold
    return folds
