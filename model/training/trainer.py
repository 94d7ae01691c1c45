"""The training loop of one network."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from model.dataset import ImageDataset, PixelCache
from model.dataset.content import check_content
from model.errors import ConfigError, NonFiniteOutput
from model.images.framing import TILE
from model.images.preprocess import Preprocessing
from model.network import MambaAD
from model.training import features
from model.training.applying.augmentation import augment
from model.training.batches import AUGMENTATION, STEP, epoch_order, in_order, load_batches, seed_for
from model.training.data import TrainingData
from model.training.objective import feature_loss, learning_rate
from model.training.parallel.group import Group
from model.training.progress import snapshot
from model.training.progress.average import WeightAverage
from model.training.progress.best import BestWeights
from model.training.progress.monitor import Monitor
from model.training.progress.state import EpochRecord, Place, load_state, save_state
from model.training.progress.stopping import is_finished
from model.training.recipe.config import TrainingConfig
from model.training.student import Student, distribute, quiet_strides

BETAS = (0.9, 0.999)


class Trainer:
    """Trains `network` by `config` on `data`; all random numbers depend on the seed.

    In a `group`, each process has its rows of every batch. `watch_best` keeps the weights with the
    lowest loss on the watched images, like `config.keeps_best`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: MambaAD,
        preprocessing: Preprocessing,
        data: TrainingData,
        device: torch.device,
        group: Group | None = None,
        watch_best: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.config = config
        self.network = network.to(device)
        self.preprocessing = preprocessing
        self.data = data
        self.device = device
        self.group = group or Group()
        self.place = Place()
        _check(config, data, preprocessing, self.group)
        changes = config.augmentation
        augmented = partial(augment, changes) if changes.changes_anything else None
        pixels = PixelCache(preprocessing, cache)
        self._images = ImageDataset(
            data.train, preprocessing, augmented, seed_for(AUGMENTATION, config.seed), cache=pixels
        )
        self._watched = None
        if data.watched:
            self._watched = ImageDataset(data.watched, preprocessing, cache=pixels)
        self.teacher = features.Teacher(network.encoder, preprocessing, device)
        self.versions = None if preprocessing.resize == TILE else changes.versions
        self._student = Student(network, config, self.group)
        self._student.freeze_unused()
        self._learner = distribute(self._student, self.group, device)
        self._parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), betas=BETAS, weight_decay=config.weight_decay, fused=True
        )
        self._average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
        self.best = BestWeights() if config.keeps_best or watch_best else None

    def check_content(self) -> None:
        """Raise `DatasetError` for blank images in training, watching or calibration."""
        check_content(self._images, (*self.data.watch, *self.data.held_out))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return max(1, len(self.data.train) // self.config.batch_size)

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return is_finished(self.config, self.place)

    def run(
        self,
        monitor: Monitor,
        go_on: Callable[[], bool],
    ) -> None:
        """Train until the end, or until `go_on()` returns False after a step.

        `go_on` may save the state. Raises `NonFiniteOutput` for a loss or gradient that is not
        finite.
        """
        if self.config.standardise_features and not self.network.encoder.standardises:
            self._standardise()
        monitor.begin(self.config.epochs, self.steps_per_epoch, self.place)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            while not self.finished:
                if not self._train_epoch(monitor, go_on):
                    return
                self._end_epoch(monitor)

    def _standardise(self) -> None:
        images = ImageDataset(self.data.train, self.preprocessing)
        batches = load_batches(images, in_order(len(images), self._batch_size))
        features.standardise(self.network.encoder, map(self.teacher.normalised, batches))

    def _train_epoch(self, monitor: Monitor, go_on: Callable[[], bool]) -> bool:
        """Do the epoch's remaining steps; return False if stopped."""
        place, config = self.place, self.config
        order = epoch_order(len(self._images), config.batch_size, config.seed, place.epoch)
        shares = [self.group.share(batch) for batch in order[place.step :]]
        self._images.set_epoch(place.epoch)
        self._learn(True)
        batches = load_batches(self._images, shares)
        started, waited = time.perf_counter(), 0.0
        for batch in batches:
            loss = self._train_step(batch)
            place.step += 1
            place.loss_sum += loss
            place.images += self._batch_size
            now = time.perf_counter()
            place.seconds += now - started
            place.wait_s += batches.wait_s - waited
            started, waited = now, batches.wait_s
            monitor.step(place, loss)
            if not go_on():
                return False
        return True

    def _train_step(self, batch: UInt8[Tensor, "B 3 H W"]) -> float:
        config, epoch, step = self.config, self.place.epoch, self.place.step
        torch.manual_seed(seed_for(STEP, config.seed, epoch, step))
        number = epoch * self.steps_per_epoch + step
        rate = learning_rate(config, number, self.steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        teacher = self.teacher(batch, comes_again=self.versions is not None)
        loss = self._loss(teacher, number / (config.epochs * self.steps_per_epoch))
        value = self.group.total(float(loss.detach()))[0] / self.group.size
        self._check_finite("loss", value, rate)
        self._optimizer.zero_grad()
        with quiet_strides() if self.group.size > 1 else nullcontext():
            loss.backward()  # type: ignore[no-untyped-call]
        # Checked before the step, so that a saved state never has non-finite weights.
        self._check_finite("gradient", float(self._gradient_norm()), rate)
        self._optimizer.step()
        if self._average:
            self._average.update(self.network, number)
        return value

    def _gradient_norm(self) -> Tensor:
        """Return the gradient's norm, and clip it to the recipe's limit."""
        parameters = self._parameters.values()
        if self.config.clip_norm:
            return clip_grad_norm_(parameters, self.config.clip_norm)
        return get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _check_finite(self, what: str, value: float, rate: float) -> None:
        if not math.isfinite(value):
            raise NonFiniteOutput(
                f"the training {what} became {value} in epoch {self.place.epoch + 1}, step "
                f"{self.place.step + 1}, at learning rate {rate:.3g}: try a lower learning rate, a "
                "warm-up or clipped gradients"
            )

    def _loss(self, teacher: list[Tensor], progress: float = 1.0) -> Tensor:
        student = (self._learner if self._student.training else self._student)(teacher)
        emphasis, used = self.config.emphasis, teacher[self.config.emphasis.unused_scales :]
        return feature_loss(
            self.config.loss, used, student, emphasis, progress, self.group.gather
        )  # fmt: skip

    def _end_epoch(self, monitor: Monitor) -> None:
        place = self.place
        last = (place.epoch + 1) * self.steps_per_epoch - 1
        record = EpochRecord(
            epoch=place.epoch + 1,
            loss=place.loss_sum / place.step,
            held_out_loss=self.watch(),
            learning_rate=learning_rate(self.config, last, self.steps_per_epoch),
            seconds=place.seconds,
            images_per_second=place.images / max(place.seconds, 1e-9),
            wait_s=place.wait_s,
        )
        self.place = Place(epoch=place.epoch + 1, history=[*place.history, record])
        monitor.epoch(record)

    @property
    def _batch_size(self) -> int:
        return min(self.config.batch_size, len(self.data.train))

    @torch.no_grad()
    def watch(self) -> float | None:
        """Return the loss of the current (or averaged) weights on the watched images.

        Also offers these weights to `best`, if it is set.
        """
        if self._watched is None:
            return None
        batches = [self.group.share(b) for b in in_order(len(self._watched), self._batch_size)]
        shares = [batch for batch in batches if batch]
        total = 0.0
        weights = self._average.weights if self._average else None
        with self._lent(weights) as network:
            for batch in load_batches(self._watched, shares):
                total += float(self._loss(self.teacher(batch))) * len(batch)
            loss = self.group.total(total)[0] / len(self._watched)
            if self.best:
                self.best.offer(loss, self.place.epoch + 1, network.trained_state())
        return loss

    def _learn(self, mode: bool) -> None:
        self.network.train(mode)
        self._learner.train(mode)

    @contextmanager
    def final_weights(self) -> Iterator[MambaAD]:
        """Yield the network in inference mode with its final weights: best, average or last."""
        weights = self._average.weights if self._average else None
        if self.best and self.best.weights:
            weights = self.best.weights
        with self._lent(weights) as network:
            yield network

    @contextmanager
    def _lent(self, weights: Mapping[str, Tensor] | None) -> Iterator[MambaAD]:
        self._learn(False)
        with snapshot.lent(self.network, weights) if weights else nullcontext():
            yield self.network

    def identity(self) -> dict[str, Any]:
        """Return everything that a resumed run must have in common with this one."""
        return {
            "training": self.config.to_dict(),
            "network": self.network.config.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "encoder": snapshot.digest(self.network.encoder.net.state_dict()),
            "images": self.data.identity(),
        }

    def save(self, folder: Path) -> None:
        """Write the run's state; see `save_state`."""
        if self.group.leads:
            tensors = snapshot.take(
                self.network, self._parameters, self._optimizer, self._average, self.best
            )
            save_state(folder, self.identity(), self.place, tensors)

    def resume(self, folder: Path) -> None:
        """Restore a state that `save` wrote; raises like `load_state`."""
        state = load_state(folder, self.identity()) if self.group.leads else (Place(), {})
        self.place, tensors = self.group.first(state)
        snapshot.restore(
            tensors, self.network, self._parameters, self._optimizer, self._average, self.best
        )


def _check(
    config: TrainingConfig, data: TrainingData, preprocessing: Preprocessing, group: Group
) -> None:
    """Raise `ConfigError` for settings that would fail during the run."""
    size = min(config.batch_size, len(data.train))
    if size % group.size:
        raise ConfigError(
            f"{group.size} processes cannot share batches of {size} images evenly: "
            "choose another batch size or number of processes"
        )
    height, width = preprocessing.image_size
    if size * (height // 32) * (width // 32) == 1:
        raise ConfigError(
            f"a batch of one {height} x {width} image has a single value per channel in the "
            "fusion: give more images, or larger ones"
        )
    if config.keeps_best and not data.watched:
        raise ConfigError(
            "keep=best and patience need good images to watch: hold some out (held_out_fraction, "
            "--held-out-dir) or set watch_fraction"
        )
