"""A whole run: from good images to a calibrated checkpoint in the store."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.anomaly import Scoring
from model.checkpoint import Checkpoint, CheckpointStore
from model.detector import Detector
from model.errors import CheckpointError, ConfigError
from model.network import MambaAD, NetworkConfig
from model.network.encoder import load_encoder_weights
from model.preprocess import Preprocessing
from model.training.batches import INITIAL_WEIGHTS, seed_for
from model.training.config import TrainingConfig
from model.training.data import TrainingData
from model.training.golden import record_golden
from model.training.monitor import Monitor
from model.training.state import read_place
from model.training.thresholds import calibrate, fit_baselines
from model.training.trainer import Trainer

SAVE_EVERY_S = 300.0


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where a run leaves things, and what it does about an earlier one.

    `folder` takes the unfinished run's state, every `save_every_s` seconds and when stopped;
    `store` takes the checkpoint, as the next version of `name`. `resume` goes on with the run that
    `folder` holds; `restart` gives up an unfinished one. `license` and `notice` go into the
    manifest.
    """

    name: str
    folder: Path
    store: CheckpointStore
    device: str = "cpu"
    encoder_weights: str | Path = "package"
    resume: bool = False
    restart: bool = False
    save_every_s: float = SAVE_EVERY_S
    license: str | None = None
    notice: str | None = None


def train(
    run: Run,
    config: TrainingConfig,
    network_config: NetworkConfig,
    data: TrainingData,
    scoring: Scoring,
    *,
    monitor: Monitor | None = None,
    stop: Callable[[], bool] = _never,
) -> Checkpoint:
    """Train a network, calibrate it on the held-out images and save it as a checkpoint.

    When `stop()` says yes after a step, the state is saved for `resume`, and the network as it is
    becomes a checkpoint all the same. Raises `CheckpointError` where the folder holds an
    unfinished run and neither `resume` nor `restart` is set.
    """
    _check_folder(run, config)
    device = read_device(run.device)
    network, preprocessing = build_network(network_config, run.encoder_weights, config.seed)
    trainer = Trainer(config, network, preprocessing, data, device)
    if run.resume:
        trainer.resume(run.folder)
    saved = time.monotonic()

    def go_on() -> bool:
        nonlocal saved
        if stop():
            return False
        if time.monotonic() - saved >= run.save_every_s:
            trainer.save(run.folder)
            saved = time.monotonic()
        return True

    trainer.run(monitor or Monitor(), go_on)
    trainer.save(run.folder)
    return _keep(run, trainer, scoring)


def build_network(
    config: NetworkConfig, encoder_weights: str | Path, seed: int
) -> tuple[MambaAD, Preprocessing]:
    """Build a network to be trained, and the preprocessing that its encoder expects.

    What is not from `encoder_weights` follows from the seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(INITIAL_WEIGHTS, seed))
        network = MambaAD(config)
    load_encoder_weights(network.encoder, encoder_weights)
    mean, std = network.encoder.mean, network.encoder.std
    return network, Preprocessing(image_size=config.image_size, mean=mean, std=std)


def read_device(name: str) -> torch.device:
    """Return the device of that name; raises `ConfigError` when there is no such device here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device {name!r}: expected cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"no device {name!r} here: found {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _check_folder(run: Run, config: TrainingConfig) -> None:
    if run.resume or run.restart:
        return
    place = read_place(run.folder)
    if place is not None and place.epoch < config.epochs:
        raise CheckpointError(
            f"{run.folder} holds an unfinished run, {place.epoch} epochs done: give --resume to "
            "go on with it, or --restart to give it up"
        )


def _keep(run: Run, trainer: Trainer, scoring: Scoring) -> Checkpoint:
    """Calibrate the network as it is and write it to the store."""
    with trainer.final_weights() as network:
        detector = Detector.from_network(
            network, trainer.preprocessing, scoring, {}, str(trainer.device)
        )
        if scoring.standardise:
            detector.baselines = fit_baselines(detector, trainer.data.train)
        held_out = trainer.data.held_out
        calibrations = {}
        if held_out:
            calibrations = calibrate(detector, scoring, held_out, trainer.config.alpha)
        return run.store.save(
            run.name,
            network,
            trainer.preprocessing,
            scoring,
            calibrations,
            training=summary(trainer),
            metrics={},
            license=run.license,
            notice=run.notice,
            baselines=detector.baselines,
            golden=record_golden(detector, held_out, calibrations),
        )


def summary(trainer: Trainer) -> dict[str, Any]:
    """Say in JSON how a network was trained and how far the training came."""
    history = trainer.place.history
    return {
        "recipe": trainer.config.to_dict() | {"learning_rate": trainer.config.peak_learning_rate},
        "finished": trainer.finished,
        "epochs_done": trainer.place.epoch,
        "steps_done": trainer.place.epoch * trainer.steps_per_epoch + trainer.place.step,
        "images": trainer.data.identity(),
        "last_epoch": asdict(history[-1]) if history else None,
        "seconds": round(sum(record.seconds for record in history), 1),
    }
