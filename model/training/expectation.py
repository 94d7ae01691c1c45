"""How long a training will take, from one step on two images before it begins."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.dataset import ImageDataset
from model.network.normalise import normalise
from model.training.recipe.config import TrainingConfig
from model.training.trainer import Trainer

_PROBED = 2
"""Images in the step that is measured on a CPU, where time grows with the images; a GPU takes the
recipe's batch."""
_SLOW_S = 3600.0
_READINGS = 2  # each image is decoded once to check it, and once for the first epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds for one image: decoded, inspected, and as a part of a training step."""

    decode_s: float
    inspect_s: float
    step_s: float


def expect(trainer: Trainer) -> str:
    """Return how long the run will take, in words; takes a few passes of the network."""
    config, device = trainer.config, trainer.device.type
    seconds = expected_s(
        config, measure(trainer), len(trainer.data.train), len(trainer.data.held_out),
        len(trainer.data.watched),
    ) / trainer.group.size  # fmt: skip
    place = "this CPU" if device == "cpu" else str(trainer.device)
    networks = f" of each of {config.folds + 1} networks" if config.folds else ""
    most = "at most " if config.patience else ""
    text = f"{most}about {words(seconds)} for {config.epochs} epochs{networks} on {place}"
    if device == "cpu" and seconds > _SLOW_S:
        text += "; --recipe fast takes minutes on a CPU"
    return text


def expected_s(
    config: TrainingConfig, speed: Speed, trained: int, held_out: int, watched: int
) -> float:
    """Return the seconds of a run with its reading of images, baselines and calibration.

    In folds, `trained` are the images of the first of these networks. All K of them take that
    many, and the last one K / (K - 1) times as many.
    """
    folds = config.folds
    networks = folds + folds / (folds - 1) if folds else 1
    batch = min(config.batch_size, trained)
    steps = max(1, trained // config.batch_size)
    epoch_s = steps * batch * speed.step_s + watched * speed.inspect_s
    once = trained + held_out  # standardised or given a baseline, and calibrated
    reading_s = _READINGS * once * speed.decode_s
    return networks * (config.epochs * epoch_s + once * speed.inspect_s + reading_s)


def words(seconds: float) -> str:
    """Return a duration as a person would say it."""
    for unit, length, most in (("second", 1, 90), ("minute", 60, 90 * 60), ("hour", 3600, 172800)):
        if seconds < most:
            count = max(1, round(seconds / length))
            count = max(10, round(count, -1)) if unit == "second" else count
            return f"{count} {unit}s" if count > 1 else f"1 {unit}"
    return f"{round(seconds / 86400)} days"


def measure(trainer: Trainer) -> Speed:
    """Time one step and its parts on the first images; the network and its weights stay as before.

    The network is in inference mode, so batch statistics stay too.
    """
    count = _PROBED if trainer.device.type == "cpu" else trainer.config.batch_size
    samples = trainer.data.train[:count]
    dataset = ImageDataset(samples, trainer.preprocessing)
    started = time.perf_counter()
    images = torch.stack([dataset[index][0] for index in range(len(samples))])
    decode_s = (time.perf_counter() - started) / len(samples)
    batch = normalise(images.to(trainer.device), trainer.preprocessing)
    trainer.network.eval()
    _step(trainer, batch)  # the first pass compiles kernels and takes memory
    inspect_s = _timed(trainer, lambda: _forward(trainer, batch)) / len(samples)
    step_s = _timed(trainer, lambda: _step(trainer, batch)) / len(samples)
    trainer.network.zero_grad(set_to_none=True)
    return Speed(decode_s=decode_s, inspect_s=inspect_s, step_s=step_s)


def _timed(trainer: Trainer, run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - started


@torch.no_grad()
def _forward(trainer: Trainer, batch: Tensor) -> Sequence[Tensor]:
    return _rebuilt(trainer, batch)


def _step(trainer: Trainer, batch: Tensor) -> None:
    total = torch.stack([feature.square().mean() for feature in _rebuilt(trainer, batch)]).sum()
    total.backward()  # type: ignore[no-untyped-call]


def _rebuilt(trainer: Trainer, batch: Tensor) -> list[Tensor]:
    mixed = trainer.config.precision == "bfloat16"
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=mixed):
        teacher = trainer.network.encoder(batch)
        return trainer.network.reconstruct(teacher, trainer.config.emphasis.unused_scales)
