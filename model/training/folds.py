"""Thresholds where good images are too few to hold any out: cross-conformal scores.

The good images are dealt into K folds. K networks are trained, each without one fold, which it
scores afterwards; so every image has a score from a network that has not learned from it. The
pooled scores set the thresholds of a last network, which is trained on all images:

    runs/NAME/fold-1 ... fold-K    each network's run, and scores.json, what it makes of its fold
    runs/NAME                      the last network's

What this promises: nothing, strictly. Cross-conformal prediction (Vovk 2015), or CV+ (Barber et al.
2021), has a new part scored by all K networks, each beside the fold that it had not seen, and then
promises about 2 alpha in place of alpha. One network is stored and served here, and its scores are
exchangeable with none of theirs: alpha is an estimate (`Calibration.promise`). Where more images
help, the last network scores new parts lower than theirs did, and rejects fewer.
"""

import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint
from model.dataset import Sample
from model.durable import write_durably
from model.errors import CheckpointError, ConfigError, DatasetError
from model.inspection import Category
from model.training import run as training
from model.training.data import TrainingData, digests
from model.training.progress.monitor import Monitor
from model.training.progress.state import RECORD_FILE, STATE_FILE, check_identity
from model.training.recipe.config import TrainingConfig
from model.training.run import FOLD_FOLDERS, Run
from model.training.thresholds import Shown, show
from model.training.trainer import Trainer

SCORES_FILE = "scores.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One network of several: where it is trained, what on, and the images it is to score."""

    run: Run
    data: TrainingData
    left_out: tuple[Sample, ...]


def train(
    run: Run,
    data: TrainingData,
    *,
    monitor: Monitor | None = None,
    fold_monitor: Monitor | None = None,
    stop: Callable[[], bool] = training.never,
) -> Checkpoint | None:
    """Train as `model.training.run.train` does, in folds first where the recipe asks for them.

    `fold_monitor` hears of the folds' networks, `monitor` of the one that is kept. The first
    process, too, returns None where it was stopped before that one was begun.
    """
    calibrations = None
    folds: list[Fold] = []
    config = run.recipe.training
    if config.folds:
        check(run, data)
        training.check_run(run, data)
        told = fold_monitor or Monitor()
        data = data.keep_apart(config.watch_fraction, config.seed)
        folds = deal(run, data)
        begin(run, folds)
        shown = show_folds(folds, told, stop)
        if shown is None:
            return None
        calibrations = fit(shown, config)
        told.stage("all images")
        # What was in the way was looked for above: the folds that are there now are this run's own.
        run = replace(run, resume=run.resume and has_begun(run), restart=True)
    elif run.restart and run.group.leads:
        forget_folds(run)
    checkpoint = training.train(run, data, monitor=monitor, stop=stop, calibrations=calibrations)
    if checkpoint and checkpoint.manifest.training["finished"]:
        forget_networks(folds)
    return checkpoint


def check(run: Run, data: TrainingData) -> None:
    """Refuse what folds cannot go with, before anything is trained."""
    if data.held_out:
        raise ConfigError(
            f"{len(data.held_out)} good images are held out, and folds are for where none can be: "
            "use one or the other"
        )
    if run.max_minutes is not None:
        raise ConfigError(
            "--max-minutes would stop the folds' networks elsewhere than the last one, and their "
            "scores would say nothing of its own: give fewer epochs"
        )


def deal(run: Run, data: TrainingData) -> list[Fold]:
    """Deal each category's good images into folds, by seed and name; see `split_good`.

    Raises `DatasetError` for a category with fewer images than folds.
    """
    config = run.recipe.training
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in sorted(data.train, key=lambda sample: (sample.path.name, sample.path)):
        groups[sample.category].append(sample)
    place: dict[Sample, int] = {}
    for category, group in groups.items():
        if len(group) < config.folds:
            raise DatasetError(
                f"{category!r} has {len(group)} good images, too few for {config.folds} folds"
            )
        random.Random(f"{config.seed}/{category}/folds").shuffle(group)
        place |= {sample: number % config.folds for number, sample in enumerate(group)}
    return [
        Fold(
            run=replace(run, folder=run.folder / f"{FOLD_FOLDERS}{fold + 1}", restart=True),
            data=replace(data, train=tuple(s for s in data.train if place[s] != fold)),
            left_out=tuple(s for s in data.train if place[s] == fold),
        )
        for fold in range(config.folds)
    ]


def has_begun(run: Run) -> bool:
    """Say whether there is a state to go on from; every process of a group hears the first's."""
    return run.group.first((run.folder / STATE_FILE).is_file())


def begin(run: Run, folds: Sequence[Fold]) -> None:
    """Clear the ground for a run from its start, unless one is to be resumed."""
    if run.resume:
        begun = any(has_begun(fold.run) for fold in folds)
        scored = any((fold.run.folder / SCORES_FILE).is_file() for fold in folds)
        if not run.group.first(begun or scored):
            raise CheckpointError(f"nothing to resume: no fold was begun in {run.folder}")
        return
    if run.group.leads:
        forget_folds(run)
        (run.folder / STATE_FILE).unlink(missing_ok=True)


def forget_folds(run: Run) -> None:
    """Remove the folders of an earlier run in folds."""
    for folder in run.folder.glob(f"{FOLD_FOLDERS}*"):
        shutil.rmtree(folder)


def show_folds(
    folds: Sequence[Fold], monitor: Monitor, stop: Callable[[], bool]
) -> dict[Category, Shown] | None:
    """Return what every image showed to the network that had not learned from it.

    None where it was stopped on the way. Only the first process of a group has the scores.
    """
    shown: defaultdict[Category, Shown] = defaultdict(Shown)
    for number, fold in enumerate(folds, 1):
        identity = identify(fold)
        found = fold.run.group.first(read_scores(fold, identity))
        if found is None:
            monitor.stage(f"fold {number}/{len(folds)}")
            found = learn_fold(fold, monitor, stop)
            if found is None:
                return None
            if fold.run.group.leads:
                write_scores(fold, identity, found)
        for category, own in found.items():
            shown[category].raw_scores += own.raw_scores
            shown[category].pixel_peaks += own.pixel_peaks
    return dict(sorted(shown.items()))


def learn_fold(
    fold: Fold, monitor: Monitor, stop: Callable[[], bool]
) -> dict[Category, Shown] | None:
    """Train one fold's network and let it score what it has not seen; None where stopped."""
    run = replace(fold.run, resume=fold.run.resume and has_begun(fold.run))

    def finish(trainer: Trainer, _ended: str) -> dict[Category, Shown] | None:
        if not trainer.finished:
            return None
        if not run.group.leads:
            return {}
        with trainer.final_weights() as network:
            detector = training.build_detector(run, trainer, network)
            return show(detector, run.recipe.scoring, fold.left_out)

    return training.learn(run, fold.data, finish, monitor=monitor, stop=stop)


def fit(shown: Mapping[Category, Shown], config: TrainingConfig) -> dict[Category, Calibration]:
    """Return thresholds from the pooled scores; they say from how many folds."""
    return {
        category: Calibration.fit(own.raw_scores, own.pixel_peaks, config.alpha, folds=config.folds)
        for category, own in shown.items()
    }


def identify(fold: Fold) -> dict[str, Any]:
    """Say what a fold's scores are of: what a resumed run must have in common with them."""
    recipe = fold.run.recipe
    return {
        "training": recipe.training.to_dict(),
        "network": recipe.network.to_dict(),
        "scoring": recipe.scoring.to_dict(),
        "images": fold.data.identity() | {"left_out": digests(fold.left_out)},
        "encoder_weights": recipe.encoder_weights,
        "preprocessing": recipe.images.to_dict(),
        "areas": {k: area.model_dump() for k, area in sorted(fold.run.areas.items())},
    }


def write_scores(fold: Fold, identity: Mapping[str, Any], shown: Mapping[Category, Shown]) -> None:
    """Keep a fold's scores; raises `CheckpointError` where the disk refuses."""
    values = {"identity": identity, "shown": {k: asdict(own) for k, own in shown.items()}}
    path = fold.run.folder / SCORES_FILE
    try:
        write_durably(path, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"cannot write the fold's scores {path}: {error}") from error


def read_scores(fold: Fold, identity: Mapping[str, Any]) -> dict[Category, Shown] | None:
    """Return a fold's scores, None where it has not come so far.

    Raises `CheckpointError` where they are damaged, or of another recipe or other images.
    """
    path = fold.run.folder / SCORES_FILE
    if not fold.run.resume or not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        shown = {category: Shown(**own) for category, own in values["shown"].items()}
        stored = values["identity"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no fold's scores: {error}") from error
    check_identity(fold.run.folder, identity, stored)
    return shown


def forget_networks(folds: Sequence[Fold]) -> None:
    """Remove the folds' networks; what they were asked, their curves and scores stay."""
    for fold in folds:
        for file in (STATE_FILE, RECORD_FILE):
            (fold.run.folder / file).unlink(missing_ok=True)
