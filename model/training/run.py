"""A complete run: from good images to a calibrated checkpoint in the store."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.engines.torch.device import read_device
from model.errors import ConfigError
from model.images.areas import Area
from model.images.framing import check_alignment
from model.images.preprocess import ImageRule, Preprocessing
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD, NetworkConfig
from model.network.encoder import load_encoder_weights
from model.runtimes.agreements import with_agreements
from model.runtimes.torch import torch_detector
from model.training.batches import INITIAL_WEIGHTS, seed_for
from model.training.data import TrainingData
from model.training.expectation import CheckTime, expect
from model.training.golden import record_golden
from model.training.memories import mirrors_of
from model.training.parallel.agreement import check_agreement, check_state
from model.training.parallel.group import Group
from model.training.progress.monitor import Monitor, Monitors
from model.training.progress.records import Curve, TensorBoard, write_recipe
from model.training.progress.state import STATE_FILE, flatten, forget_leftovers
from model.training.progress.stopping import Budget, check_unfinished
from model.training.recipe.recipe import Recipe
from model.training.seen import seen_in_training
from model.training.summary import remembered, summary
from model.training.thresholds import calibrate, fit_baselines
from model.training.trainer import Trainer

SAVE_EVERY_S = 300.0
FOLD_FOLDERS = "fold-"
"""Prefix of the folders of a run in folds (`model.training.folds`)."""
_T = TypeVar("_T")


def never() -> bool:
    """Never stop a run."""
    return False


def _ignore(_stage: str) -> None:
    """Show no stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The settings of a run.

    `folder` gets the recipe, the curve and the run's state, every `save_every_s` seconds and when
    stopped; `store` gets the checkpoint as the next version of `name`. `resume` continues the run
    in `folder`; `restart` discards an unfinished one. After `max_minutes` the run ends with the
    best weights so far. `license`, `notice` and `areas`, the inspected area of each category, go
    into the manifest, and so does `choice`: why this recipe (`model.training.choice`). `cache` is a
    folder for resized images. `group` are the processes that train together. `expects` tells the
    monitor first how long all of it will take; `check_time` adds the self-check that follows.
    """

    name: str
    folder: Path
    store: CheckpointStore
    recipe: Recipe = field(default_factory=Recipe)
    choice: Mapping[str, Any] | None = None
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
    expects: bool = True
    check_time: CheckTime | None = None


def train(
    run: Run,
    data: TrainingData,
    *,
    monitor: Monitor | None = None,
    stop: Callable[[], bool] = never,
    calibrations: Mapping[Category, Calibration] | None = None,
) -> Checkpoint | None:
    """Train a network, calibrate it on the held-out images and save it as a checkpoint.

    If `stop()` returns True after a step, or the time is used up, the state is saved for `resume`,
    and the current network becomes a checkpoint. In a group, the first process returns the
    checkpoint and the others None. Raises `CheckpointError` if the folder has an unfinished run and
    neither `resume` nor `restart` is set. `calibrations` replace calibration on held-out images
    (`model.training.folds`).
    """

    def keep(trainer: Trainer, ended: str) -> Checkpoint | None:
        say = monitor.stage if monitor else _ignore
        return _keep(run, trainer, ended, calibrations, say) if run.group.leads else None

    return learn(run, data, keep, monitor=monitor, stop=stop)


def learn(
    run: Run,
    data: TrainingData,
    finish: Callable[[Trainer, str], _T],
    *,
    monitor: Monitor | None = None,
    stop: Callable[[], bool] = never,
) -> _T:
    """Train a network like `train`, and return the result of `finish(trainer, reason)`.

    Every process of a group calls `finish`.
    """
    check_run(run, data)
    recipe, config = run.recipe, run.recipe.training
    budget = Budget(run.max_minutes)
    device = read_device(run.device)
    built = (recipe.network, recipe.encoder_weights, config.seed, recipe.images)
    network, preprocessing = build_network(*built)
    data = data.keep_apart(config.watch_fraction, config.seed)
    watch_best = run.max_minutes is not None and bool(data.watched)
    group = run.group
    trainer = Trainer(config, network, preprocessing, data, device, group, watch_best, run.cache)
    check_agreement(run.group, flatten(trainer.identity()))
    if not run.resume:
        if group.leads and monitor and run.expects:
            monitor.expect(expect(trainer, run.check_time))
        trainer.check_content()
    if run.group.leads:
        forget_leftovers(run.folder)
        write_recipe(run.folder, recipe.to_yaml())
    if run.resume:
        check_state(run.group, run.folder / STATE_FILE)
        trainer.resume(run.folder)
    outcome: dict[str, str] | None = None
    monitors = _monitors(run, monitor)
    try:
        ended = _train(run, trainer, monitors, stop, budget)
        result = finish(trainer, ended)
        outcome = {"ended": ended}
        if isinstance(result, Checkpoint):
            outcome["checkpoint"] = f"{result.name}/{result.version}"
    finally:
        monitors.end(outcome)
    return result


def _train(
    run: Run, trainer: Trainer, monitor: Monitor, stop: Callable[[], bool], budget: Budget
) -> str:
    """Train and save the state regularly; return why the run ended."""
    saved = time.monotonic()
    ended = ""

    def go_on() -> bool:
        nonlocal saved, ended
        stopped, late = run.group.total(float(stop()), float(budget.left_s <= 0))
        if stopped or late:
            ended = "interrupted" if stopped else "out of time"
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
        trainer.watch()  # after saving: it is no candidate for a resumed run
    return ended


def build_network(
    config: NetworkConfig,
    encoder_weights: str | Path,
    seed: int,
    images: ImageRule | None = None,
) -> tuple[MambaAD, Preprocessing]:
    """Build a network for training, and its encoder's preprocessing.

    Weights that are not in `encoder_weights` are random with `seed`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(INITIAL_WEIGHTS, seed))
        network = MambaAD(config)
    load_encoder_weights(network.encoder, encoder_weights)
    encoder, rule = network.encoder, images or ImageRule()
    return network, rule.preprocessing(config.image_size, encoder.mean, encoder.std)


def check_run(run: Run, data: TrainingData) -> None:
    """Raise errors early: an unfinished run in the folder, the frame, areas, scales."""
    run.recipe.check_scales()
    _check_folder(run)
    _check_frame(run, data)


def _check_frame(run: Run, data: TrainingData) -> None:
    """Raise `ConfigError` for an invalid frame or areas of unknown categories."""
    check_alignment(run.recipe.images.resize, run.recipe.scoring.needs_alignment)
    unknown = sorted(run.areas.keys() - set(data.categories))
    if unknown:
        have = ", ".join(data.categories)
        raise ConfigError(
            f"an area of {', '.join(unknown)}, which is not in training; have: {have}"
        )


def _check_folder(run: Run) -> None:
    if run.resume or run.restart or not run.group.leads:  # the others neither read nor write it
        return
    recipe = run.recipe
    identity = {"training": recipe.training.to_dict(), "network": recipe.network.to_dict()}
    check_unfinished(run.folder, f"{FOLD_FOLDERS}*", identity)


def _monitors(run: Run, monitor: Monitor | None) -> Monitor:
    if not run.group.leads:
        return Monitor()
    written = [Curve(run.folder), TensorBoard(run.folder, run.recipe.to_yaml())]
    return Monitors(*written, monitor) if monitor else Monitors(*written)


def build_detector(
    run: Run, trainer: Trainer, network: MambaAD, say: Callable[[str], None] = _ignore
) -> Detector:
    """Return a detector without thresholds, with baselines from the training images."""
    scoring = run.recipe.scoring
    detector = torch_detector(
        network, trainer.preprocessing, scoring, {}, str(trainer.device), areas=run.areas
    )
    if scoring.uses_baselines:
        shapes = network.feature_shapes
        augmentation = trainer.config.augmentation
        mirrors = mirrors_of(hflip=augmentation.hflip, vflip=augmentation.vflip)
        detector.baselines = fit_baselines(
            detector, trainer.data.train, shapes, say=say, mirrors=mirrors
        )
    return detector


def _keep(
    run: Run,
    trainer: Trainer,
    ended: str,
    calibrations: Mapping[Category, Calibration] | None,
    say: Callable[[str], None],
) -> Checkpoint:
    """Calibrate the network unless `calibrations` are given, and save it to the store.

    Golden images are held-out images, or training images if `calibrations` are given.
    """
    scoring = run.recipe.scoring
    with trainer.final_weights() as network:
        detector = build_detector(run, trainer, network, say)
        held_out = trainer.data.held_out
        golden_from = trainer.data.train if calibrations else held_out
        if calibrations is None:
            alpha = trainer.config.alpha
            calibrations = calibrate(detector, scoring, held_out, alpha) if held_out else {}
        saved = run.store.save(
            run.name,
            network,
            trainer.preprocessing,
            scoring,
            calibrations,
            training=summary(trainer)
            | {"ended": ended}
            | remembered(detector.baselines)
            | ({"choice": dict(run.choice)} if run.choice is not None else {}),
            metrics={},
            license=run.license,
            notice=run.notice,
            baselines=detector.baselines,
            golden=record_golden(detector, golden_from, calibrations),
            areas=run.areas,
            seen=seen_in_training(trainer.data),
        )
    return with_agreements(run.store, saved, held_out)
