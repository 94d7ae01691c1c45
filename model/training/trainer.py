"""The training loop: one network, one recipe, from wherever the run stands to its end."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from model.dataset import ImageDataset
from model.errors import NonFiniteOutput
from model.network import MambaAD
from model.preprocess import Preprocessing
from model.torch_engine import normalise
from model.training.average import WeightAverage
from model.training.batches import AUGMENTATION, STEP, epoch_order, load_batches, seed_for
from model.training.config import TrainingConfig
from model.training.data import TrainingData
from model.training.monitor import Monitor
from model.training.objective import feature_loss, learning_rate
from model.training.state import EpochRecord, Place, load_state, save_state

BETAS = (0.9, 0.999)


class Trainer:
    """Trains `network` by `config` on `data`; everything random follows from the seed."""

    def __init__(
        self,
        config: TrainingConfig,
        network: MambaAD,
        preprocessing: Preprocessing,
        data: TrainingData,
        device: torch.device,
    ) -> None:
        self.config = config
        self.network = network.to(device)
        self.preprocessing = preprocessing
        self.data = data
        self.device = device
        self.place = Place()
        augment = config.augmentation.apply if config.augmentation.changes_anything else None
        self._images = ImageDataset(
            data.train, preprocessing, augment, seed_for(AUGMENTATION, config.seed)
        )
        self._held_out = ImageDataset(data.held_out, preprocessing) if data.held_out else None
        self._parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), betas=BETAS, weight_decay=config.weight_decay, fused=True
        )
        self._average = WeightAverage(network, config.ema_decay) if config.ema_decay else None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return max(1, len(self.data.train) // self.config.batch_size)

    @property
    def finished(self) -> bool:
        """Whether every epoch has been done."""
        return self.place.epoch >= self.config.epochs

    def run(
        self,
        monitor: Monitor,
        go_on: Callable[[], bool],
    ) -> None:
        """Train until the end, or until `go_on()`, asked after each step, says no.

        When it is asked, the trainer stands between two steps: the moment to save. Raises
        `NonFiniteOutput` for a loss that is not a number.
        """
        monitor.begin(self.config.epochs, self.steps_per_epoch, self.place)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            while not self.finished:
                if not self._train_epoch(monitor, go_on):
                    return
                self._end_epoch(monitor)

    def _train_epoch(self, monitor: Monitor, go_on: Callable[[], bool]) -> bool:
        """Do the epoch's remaining steps; False when stopped after one of them."""
        place, config = self.place, self.config
        order = epoch_order(len(self._images), config.batch_size, config.seed, place.epoch)
        self._images.set_epoch(place.epoch)
        self.network.train()
        started = time.perf_counter()
        for batch in load_batches(self._images, order[place.step :]):
            loss = self._train_step(batch)
            place.step += 1
            place.loss_sum += loss
            now = time.perf_counter()
            place.seconds += now - started
            started = now
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
        loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteOutput(
                f"the training loss became {value} in epoch {epoch + 1}, step {step + 1}, at "
                f"learning rate {rate:.3g}: try a lower one, a warm-up, or clipped gradients"
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), config.clip_norm)
        self._optimizer.step()
        if self._average:
            self._average.update(self.network, number)
        return value

    def _loss(self, batch: UInt8[Tensor, "B 3 H W"]) -> Tensor:
        images = normalise(batch.to(self.device), self.preprocessing)
        teacher, student = self.network(images)
        return feature_loss(self.config.loss, teacher, student)

    def _end_epoch(self, monitor: Monitor) -> None:
        place = self.place
        last = (place.epoch + 1) * self.steps_per_epoch - 1
        record = EpochRecord(
            epoch=place.epoch + 1,
            loss=place.loss_sum / place.step,
            held_out_loss=self._held_out_loss(),
            learning_rate=learning_rate(self.config, last, self.steps_per_epoch),
            seconds=place.seconds,
            images_per_second=place.step * self._batch_size / max(place.seconds, 1e-9),
        )
        self.place = Place(epoch=place.epoch + 1, history=[*place.history, record])
        monitor.epoch(record)

    @property
    def _batch_size(self) -> int:
        return min(self.config.batch_size, len(self.data.train))

    @torch.no_grad()
    def _held_out_loss(self) -> float | None:
        """Return the loss on the held-out images, of the weights that would be kept now."""
        if self._held_out is None:
            return None
        size, count = self._batch_size, len(self._held_out)
        order = [list(range(i, min(i + size, count))) for i in range(0, count, size)]
        total = 0.0
        with self.final_weights():
            for batch in load_batches(self._held_out, order):
                total += float(self._loss(batch)) * len(batch)
        return total / count

    @contextmanager
    def final_weights(self) -> Iterator[MambaAD]:
        """Lend the network for inference, with the weights to keep: their average, if taken."""
        self.network.eval()
        if self._average is None:
            yield self.network
            return
        live = {key: value.clone() for key, value in self.network.trained_state().items()}
        self.network.load_trained_state(self._average.weights)
        try:
            yield self.network
        finally:
            self.network.load_trained_state(live)

    def identity(self) -> dict[str, Any]:
        """Say what this run is: what a resumed run must have in common with it."""
        return {
            "training": self.config.to_dict(),
            "network": self.network.config.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "encoder": _weights_digest(self.network.encoder.state_dict()),
            "images": self.data.identity(),
        }

    def save(self, folder: Path) -> None:
        """Write the run's state; see `save_state`."""
        tensors = {f"network/{k}": v for k, v in self.network.trained_state().items()}
        if self._average:
            tensors |= {f"average/{k}": v for k, v in self._average.weights.items()}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        save_state(folder, self.identity(), self.place, tensors)

    def resume(self, folder: Path) -> None:
        """Go on from a state that `save` wrote; see `load_state` for the errors."""
        self.place, tensors = load_state(folder, self.identity())
        self.network.load_trained_state(_below("network/", tensors))
        if self._average:
            self._average.weights = _below("average/", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        numbers = {name: number for number, name in enumerate(self._parameters)}
        for key, value in _below("optimizer/", tensors).items():
            quantity, name = key.split("/", 1)
            state.setdefault(numbers[name], {})[quantity] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _weights_digest(weights: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for key in sorted(weights):
        found.update(key.encode())
        found.update(weights[key].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
