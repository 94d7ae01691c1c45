"""Fit the baselines within a time, on fewer of the training images if there are too many."""

import time
from collections.abc import Sequence

import torch

from model.dataset import Sample
from model.errors import CalibrationError
from model.rivals import Features
from model.rivals.patchcore import CANDIDATES, CORESET_SHARE, LARGEST_CORESET
from model.training.advice.methods import Advance, Baselines, scales_of
from model.training.advice.time_limit import TimeLimit

MOST_IMAGES = 500
_FEWEST_IMAGES = 10
_TRIED_IMAGES = 4
_TRIED_POINTS, _TRIED_CHOICES, _PROJECTED = 20_000, 10, 64


def fit_in_time(
    features: Features, train: Sequence[Sample], seed: int, limit: TimeLimit, advance: Advance
) -> tuple[Baselines | None, int]:
    """Return the baselines and the number of images that they were fitted on.

    That is all of them, or else the half, the quarter, ... that the time allows, evenly spaced;
    None and 0 if it does not allow even ten.
    """
    images = spaced(train, affordable(features, train, limit))
    if not images:
        return None, 0
    try:
        return Baselines.fit(features, images, seed, advance), len(images)
    except CalibrationError:  # too few images
        return None, 0


def spaced(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return `count` evenly spaced samples, or all if there are not more."""
    if count >= len(samples):
        return list(samples)
    return [samples[place * len(samples) // count] for place in range(count)]


def affordable(features: Features, train: Sequence[Sample], limit: TimeLimit) -> int:
    """Return how many of the training images there is time for, from a short trial."""
    tried = train[:_TRIED_IMAGES]
    started = time.perf_counter()
    scales = list(scales_of(features, tried, lambda _images: None))
    image_s = (time.perf_counter() - started) / len(tried)
    patches = sum(len(s[1]) * s[1].shape[2] * s[1].shape[3] for s in scales) / len(tried)
    choice_s = _choice_s(features.device)
    count = min(len(train), MOST_IMAGES)
    while True:
        candidates = min(count * patches, CANDIDATES)
        choices = min(LARGEST_CORESET, CORESET_SHARE * candidates)
        if count * image_s + candidates * choices * choice_s <= limit.left_s:
            return count
        if count // 2 < _FEWEST_IMAGES:
            return 0
        count //= 2


@torch.inference_mode()
def _choice_s(device: torch.device) -> float:
    """Return how long the choice of one patch takes for each candidate, in seconds."""
    points = torch.zeros(_TRIED_POINTS, _PROJECTED, device=device)
    nearest = points[:, 0].clone()
    started = 0.0
    for choice in range(1 + _TRIED_CHOICES):  # the first one is not timed
        if choice == 1:
            started = time.perf_counter()
        apart = torch.addmv(nearest, points, points[choice], alpha=-2)
        torch.minimum(nearest, apart, out=nearest)
        int(nearest.argmax())  # waits for a GPU
    return (time.perf_counter() - started) / (_TRIED_POINTS * _TRIED_CHOICES)
