"""The loss and the learning rate."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from model.training.applying.emphasis import Gather, loosen, position_weights
from model.training.recipe.config import LOSSES, TrainingConfig
from model.training.recipe.emphasis import Emphasis

MSE_WEIGHT = 5.0
_PLAIN = Emphasis()
_STEP_FACTOR = 0.1
_ONECYCLE_CLIMB = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1e-4


def feature_loss(
    name: str,
    teacher: Sequence[Float[Tensor, "B _ _ _"]],
    student: Sequence[Float[Tensor, "B _ _ _"]],
    emphasis: Emphasis = _PLAIN,
    progress: float = 1.0,
    gather: Gather = lambda values: values,
) -> Float[Tensor, ""]:
    """Return the distance of the student's maps from the teacher's, summed over the scales.

    "mse" is the paper's: 5 x the mean squared error. "cosine" is the mean over the positions of
    1 - cos along the channels, as in the anomaly map. "global_cosine" is 1 - cos of each image's
    flattened map, as in ReContrast and Dinomaly: looser, because other positions can compensate for
    an error. Both sequences are fine to coarse and end with the coarsest scale. `progress` is the
    completed share of the run.
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    pairs = list(zip(teacher, student, strict=True))
    total = None
    for weight, (t, s) in zip(emphasis.loss_weights[-len(pairs) :], pairs, strict=True):
        if not weight:
            continue
        goal, made = t.float(), s.float()
        if emphasis.hard_mining:
            made = loosen(emphasis, made, _distance(name, goal, made), progress, gather)
        term = weight * _scale_loss(name, goal, made, position_weights(emphasis, goal))
        total = term if total is None else total + term
    assert total is not None
    return total


def _distance(
    name: str, goal: Float[Tensor, "B C h w"], made: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B h w"]:
    """Return the distance of the features at each position."""
    if name == "mse":
        return F.mse_loss(made, goal, reduction="none").mean(dim=1)
    return 1 - F.cosine_similarity(made, goal, dim=1)


def _scale_loss(
    name: str,
    goal: Float[Tensor, "B C h w"],
    made: Float[Tensor, "B C h w"],
    weights: Float[Tensor, "h w"] | None,
) -> Float[Tensor, ""]:
    if name == "global_cosine":
        if weights is not None:
            goal, made = goal * weights.sqrt(), made * weights.sqrt()
        return 1 - F.cosine_similarity(made.flatten(1), goal.flatten(1), dim=1).mean()
    factor = MSE_WEIGHT if name == "mse" else 1.0
    if name == "mse" and weights is None:
        return factor * F.mse_loss(made, goal)
    distance = _distance(name, goal, made)
    return factor * (distance if weights is None else distance * weights).mean()


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over the run."""
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
    """Return a cosine that falls from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
