"""A whole run: from good images to a calibrated checkpoint in the store."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.errors import ConfigError
from model.images.areas import Area
from model.images.framing import check_baselines
from model.images.preprocess import ImageRule, Preprocessing
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD, NetworkConfig
from model.network.encoder import load_encoder_weights
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring
from model.training.batches import INITIAL_WEIGHTS, seed_for
from model.training.data import TrainingData
from model.training.golden import record_golden
from model.training.parallel.group import Group
from model.training.progress.monitor import Monitor, Monitors
from model.training.progress.records import Curve, TensorBoard, write_recipe
from model.training.progress.state import forget_leftovers
from model.training.progress.stopping import Budget, check_unfinished
from model.training.recipe.emphasis import Emphasis
from model.training.recipe.recipe import Recipe
from model.training.seen import seen_in_training
from model.training.summary import summary
from model.training.thresholds import calibrate, fit_baselines
from model.training.trainer import Trainer

SAVE_EVERY_S = 300.0
FOLD_FOLDERS = "fold-"
"""How the folders of a run in folds begin (`model.training.folds`)."""
_T = TypeVar("_T")


def never() -> bool:
    """Say no, whenever a run asks whether to stop."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is trained, where it leaves things, and what it does about an earlier run.

    `recipe` is what was asked for. `folder` takes it, the unfinished run's state, every
    `save_every_s` seconds and when stopped, and its curve; `store` takes the checkpoint, as the
    next version of `name`. `resume` goes on with the run that `folder` holds; `restart` gives up an
    unfinished one. After `max_minutes` the best weights so far are kept. `license` and `notice` go
    into the manifest, as `areas` do, what counts of each category. `cache` is a folder that keeps
    resized images. `group` are the processes that train together.
    """

    name: str
    folder: Path
    store: CheckpointStore
    recipe: Recipe = field(default_factory=Recipe)
    device: str = "cpu"
    resume: bool = False
    restart: bool = False
    save_every_s: float = SAVE_EVERY_S
    max_minutes: float | None = None
    license: str | None = None
    notice: str | None = None
    areas: Mapping[Category, Area] = field(default_factory=dict)
    cache: Path | None = None
    group: Group = field(default_factory=Group)


def train(
    run: Run,
    data: TrainingData,
    *,
    monitor: Monitor | None = None,
    stop: Callable[[], bool] = never,
    calibrations: Mapping[Category, Calibration] | None = None,
) -> Checkpoint | None:
    """Train a network, calibrate it on the held-out images and save it as a checkpoint.

    When `stop()` says yes after a step, or the time is used up, the state is saved for `resume`,
    and the network as it is becomes a checkpoint all the same. Of a group's processes the first
    returns the checkpoint, the others None. Raises `CheckpointError` where the folder holds an
    unfinished run and neither `resume` nor `restart` is set. `calibrations` stand in the place of
    the held-out images where there are none (`model.training.folds`).
    """

    def keep(trainer: Trainer, ended: str) -> Checkpoint | None:
        return _keep(run, trainer, ended, calibrations) if run.group.leads else None

    return learn(run, data, keep, monitor=monitor, stop=stop)


def learn(
    run: Run,
    data: TrainingData,
    finish: Callable[[Trainer, str], _T],
    *,
    monitor: Monitor | None = None,
    stop: Callable[[], bool] = never,
) -> _T:
    """Train a network as `train` does, and return what `finish` makes of it and why it ended.

    Every process of a group calls `finish`.
    """
    check_run(run, data)
    recipe, config = run.recipe, run.recipe.training
    budget = Budget(run.max_minutes)
    device = read_device(run.device)
    network, preprocessing = build_network(
        recipe.network, recipe.encoder_weights, config.seed, recipe.images
    )
    data = data.keep_apart(config.watch_fraction, config.seed)
    watch_best = run.max_minutes is not None and bool(data.watched)
    trainer = Trainer(
        config, network, preprocessing, data, device, run.group, watch_best, run.cache
    )
    if not run.resume:
        trainer.check_content()
    if run.group.leads:
        forget_leftovers(run.folder)
        write_recipe(run.folder, recipe.to_yaml())
    if run.resume:
        trainer.resume(run.folder)
    outcome: dict[str, str] | None = None
    told = _monitors(run, monitor)
    try:
        ended = _train(run, trainer, told, stop, budget)
        found = finish(trainer, ended)
        outcome = {"ended": ended}
        if isinstance(found, Checkpoint):
            outcome["checkpoint"] = f"{found.name}/{found.version}"
    finally:
        told.end(outcome)
    return found


def _train(
    run: Run, trainer: Trainer, monitor: Monitor, stop: Callable[[], bool], budget: Budget
) -> str:
    """Train, saving the state on the way; return why it ended."""
    saved = time.monotonic()
    ended = ""

    def go_on() -> bool:
        nonlocal saved, ended
        asked, late = run.group.total(float(stop()), float(budget.left_s <= 0))
        if asked or late:
            ended = "interrupted" if asked else "out of time"
            return False
        if time.monotonic() - saved >= run.save_every_s:
            trainer.save(run.folder)
            saved = time.monotonic()
        return True

    trainer.run(monitor, go_on)
    trainer.save(run.folder)
    if trainer.finished:
        return "all epochs" if trainer.place.epoch == trainer.config.epochs else "no improvement"
    if trainer.best and trainer.place.step:
        trainer.watch()  # after saving: a run that goes on has not seen this step as a candidate
    return ended


def build_network(
    config: NetworkConfig,
    encoder_weights: str | Path,
    seed: int,
    images: ImageRule | None = None,
) -> tuple[MambaAD, Preprocessing]:
    """Build a network to be trained, and the preprocessing that its encoder expects.

    What is not from `encoder_weights` follows from the seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(INITIAL_WEIGHTS, seed))
        network = MambaAD(config)
    load_encoder_weights(network.encoder, encoder_weights)
    mean, std = network.encoder.mean, network.encoder.std
    rule = images or ImageRule()
    return network, rule.preprocessing(config.image_size, mean, std)


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


def check_run(run: Run, data: TrainingData) -> None:
    """Raise now what would be wrong later: a run in the way, a frame, areas, scales."""
    _check_scales(run.recipe.training.emphasis, run.recipe.scoring)
    _check_folder(run)
    _check_frame(run, data)


def _check_scales(emphasis: Emphasis, scoring: Scoring) -> None:
    """Refuse to score by scales that the network will not have learned to rebuild."""
    untrained = emphasis.unused_scales
    if scoring.unused_scales < untrained:
        raise ConfigError(
            f"loss_weights {emphasis.loss_weights} leave the finest {untrained} scales "
            f"untrained, and scale_weights {scoring.scale_weights} score by them: set those to 0"
        )


def _check_frame(run: Run, data: TrainingData) -> None:
    """Raise now what would be wrong with the frame or the areas at the end."""
    check_baselines(run.recipe.images.resize, run.recipe.scoring.uses_baselines)
    unknown = sorted(run.areas.keys() - set(data.categories))
    if unknown:
        have = ", ".join(data.categories)
        raise ConfigError(f"an area of {', '.join(unknown)}, which is not trained on; have: {have}")


def _check_folder(run: Run) -> None:
    if run.resume or run.restart:
        return
    recipe = run.recipe
    asked = {"training": recipe.training.to_dict(), "network": recipe.network.to_dict()}
    check_unfinished(run.folder, f"{FOLD_FOLDERS}*", asked)


def _monitors(run: Run, monitor: Monitor | None) -> Monitor:
    if not run.group.leads:
        return Monitor()
    written = [Curve(run.folder), TensorBoard(run.folder, run.recipe.to_yaml())]
    return Monitors(*written, monitor) if monitor else Monitors(*written)


def build_detector(run: Run, trainer: Trainer, network: MambaAD) -> Detector:
    """Return a detector without thresholds, its baselines from the images trained on."""
    scoring = run.recipe.scoring
    detector = torch_detector(
        network, trainer.preprocessing, scoring, {}, str(trainer.device), areas=run.areas
    )
    if scoring.uses_baselines:
        shapes = network.feature_shapes
        detector.baselines = fit_baselines(detector, trainer.data.train, shapes)
    return detector


def _keep(
    run: Run,
    trainer: Trainer,
    ended: str,
    calibrations: Mapping[Category, Calibration] | None,
) -> Checkpoint:
    """Calibrate the network as it is, unless it comes with thresholds, and write it to the store.

    Golden images are held-out ones, or with thresholds from elsewhere some of those trained on.
    """
    scoring = run.recipe.scoring
    with trainer.final_weights() as network:
        detector = build_detector(run, trainer, network)
        held_out = trainer.data.held_out
        known = trainer.data.train if calibrations else held_out
        if calibrations is None:
            alpha = trainer.config.alpha
            calibrations = calibrate(detector, scoring, held_out, alpha) if held_out else {}
        return run.store.save(
            run.name,
            network,
            trainer.preprocessing,
            scoring,
            calibrations,
            training=summary(trainer) | {"ended": ended},
            metrics={},
            license=run.license,
            notice=run.notice,
            baselines=detector.baselines,
            golden=record_golden(detector, known, calibrations),
            areas=run.areas,
            seen=seen_in_training(trainer.data),
        )
