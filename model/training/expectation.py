"""How long a training will take, from one step on two images before it begins.

The recipe is chosen by then. Coresets of memories and of the self-check's PatchCore are left out.
"""

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

CheckTime = Callable[["Speed", "Work", float], float]
"""Returns the seconds of a self-check after a training of so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds for one image: decoded, encoded, rebuilt by the decoder, and rebuilt in a step."""

    decode_s: float
    encode_s: float
    rebuild_s: float
    step_s: float

    @property
    def inspect_s(self) -> float:
        """Seconds for one inspection."""
        return self.encode_s + self.rebuild_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The images of a run, and how many of their features are kept.

    In folds, `trained` are the images of the first of these networks. An image in training has so
    many `versions`, None for always new ones; the features of `room` versions are kept.
    """

    trained: int
    held_out: int
    watched: int
    versions: int | None = None
    room: int = 0
    categories: int = 1


def expect(trainer: Trainer, check_time: CheckTime | None = None) -> str:
    """Return how long the run will take, in words; takes a few passes of the network."""
    config, device = trainer.config, trainer.device.type
    speed, work = measure(trainer), work_of(trainer)
    seconds = expected_s(config, speed, work) / trainer.group.size
    if check_time is not None:
        seconds += check_time(speed, work, seconds)
    place = "this CPU" if device == "cpu" else str(trainer.device)
    networks = f" of each of {config.folds + 1} networks" if config.folds else ""
    most = "at most " if config.patience else ""
    text = f"{most}about {words(seconds)} for {config.epochs} epochs{networks}"
    text += f" and the self-check on {place}" if check_time is not None else f" on {place}"
    if device == "cpu" and seconds > _SLOW_S:
        text += "; --recipe fast takes minutes on a CPU"
    return text


def work_of(trainer: Trainer) -> Work:
    """Return the work of a run."""
    data = trainer.data
    return Work(
        trained=len(data.train),
        held_out=len(data.held_out),
        watched=len(data.watched),
        versions=trainer.versions,
        room=trainer.teacher.room(trainer.network.feature_shapes),
        categories=len(data.categories),
    )


def expected_s(config: TrainingConfig, speed: Speed, work: Work) -> float:
    """Return the seconds of a run with its reading of images, baselines and calibration.

    All K networks of folds take as many images, and the last one K / (K - 1) times as many.
    """
    folds = config.folds
    networks = folds + folds / (folds - 1) if folds else 1
    batch = min(config.batch_size, work.trained)
    steps = max(1, work.trained // config.batch_size)
    learning_s = config.epochs * steps * batch * speed.step_s
    watching_s = config.epochs * work.watched * speed.rebuild_s
    encoding_s = encoded(config.epochs, steps * batch, work) * speed.encode_s
    once = work.trained + work.held_out  # standardised or given a baseline, and calibrated
    reading_s = _READINGS * once * speed.decode_s
    return networks * (learning_s + watching_s + encoding_s + once * speed.inspect_s + reading_s)


def encoded(epochs: int, images: int, work: Work) -> float:
    """Return about how many inputs the encoder computes in training, with those watched.

    The rest are versions that have come before.
    """
    seen = epochs * images
    if work.versions is None:
        return seen + work.watched * (1 if work.room else epochs)
    different = work.trained * work.versions * (1 - (1 - 1 / work.versions) ** epochs)
    different = min(seen, different) + work.watched
    kept = min(1.0, work.room / different)
    return different + (1 - kept) * (seen + epochs * work.watched - different)


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
    teacher = trainer.network.encoder.in_parts(batch)
    _step(trainer, teacher)  # the first pass compiles kernels and takes memory
    times = [
        _timed(trainer, lambda: trainer.network.encoder.in_parts(batch)),
        _timed(trainer, lambda: _forward(trainer, teacher)),
        _timed(trainer, lambda: _step(trainer, teacher)),
    ]
    trainer.network.zero_grad(set_to_none=True)
    encode_s, rebuild_s, step_s = (seconds / len(samples) for seconds in times)
    return Speed(decode_s=decode_s, encode_s=encode_s, rebuild_s=rebuild_s, step_s=step_s)


def _timed(trainer: Trainer, run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter() - started


@torch.no_grad()
def _forward(trainer: Trainer, teacher: list[Tensor]) -> Sequence[Tensor]:
    return _rebuilt(trainer, teacher)


def _step(trainer: Trainer, teacher: list[Tensor]) -> None:
    total = torch.stack([feature.square().mean() for feature in _rebuilt(trainer, teacher)]).sum()
    total.backward()  # type: ignore[no-untyped-call]


def _rebuilt(trainer: Trainer, teacher: list[Tensor]) -> list[Tensor]:
    mixed = trainer.config.precision == "bfloat16"
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=mixed):
        return trainer.network.reconstruct(teacher, trainer.config.emphasis.unused_scales)
