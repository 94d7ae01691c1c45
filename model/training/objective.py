"""What training makes small, and how fast it goes: the loss and the learning rate."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from model.training.config import TrainingConfig

MSE_WEIGHT = 5.0
_STEP_FACTOR = 0.1
_ONECYCLE_CLIMB = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1e-4


def feature_loss(
    name: str, teacher: Sequence[Tensor], student: Sequence[Tensor]
) -> Float[Tensor, ""]:
    """Return how far the student's maps are from the teacher's, summed over the scales.

    "mse" is the paper's: 5 x the mean squared error. "cosine" is the mean over the positions of
    1 - cos along the channels, the very quantity that the anomaly map shows.
    """
    if name == "mse":
        terms = [
            MSE_WEIGHT * nn.functional.mse_loss(s, t) for t, s in zip(teacher, student, strict=True)
        ]
    else:
        terms = [
            1 - nn.functional.cosine_similarity(s, t, dim=1).mean()
            for t, s in zip(teacher, student, strict=True)
        ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over the whole run."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.peak_learning_rate * (step + 1) / warmup
    total = config.epochs * steps_per_epoch
    if config.schedule == "step":
        factor = 1.0 if step < config.decay_at * total else _STEP_FACTOR
    elif config.schedule == "cosine":
        factor = _fall((step - warmup) / (total - warmup))
    else:
        factor = _onecycle(step / total)
    return config.peak_learning_rate * factor


def _onecycle(progress: float) -> float:
    if progress < _ONECYCLE_CLIMB:
        climbed = 1 - _fall(progress / _ONECYCLE_CLIMB)
        return _ONECYCLE_START + (1 - _ONECYCLE_START) * climbed
    fallen = (progress - _ONECYCLE_CLIMB) / (1 - _ONECYCLE_CLIMB)
    return _ONECYCLE_END + (1 - _ONECYCLE_END) * _fall(fallen)


def _fall(progress: float) -> float:
    """Return half a cosine: 1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
