"""Thresholds from cross-conformal scores, for too few good images to hold any out.

The good images are divided into K folds. K networks are trained, each without one fold, which it
then scores; so every image has a score from a network that was not trained on it. The pooled scores
set the thresholds of a final network, which is trained on all images:

    runs/NAME/fold-1 ... fold-K    each network's run, and scores.json, the scores of its fold
    runs/NAME                      the final network's run

There is no strict guarantee. Cross-conformal prediction (Vovk 2015), or CV+ (Barber et al. 2021),
scores a new part with all K networks and then guarantees about 2 alpha instead of alpha. Here only
the final network is stored and served, and its scores are not exchangeable with those of the K
networks, so alpha is an estimate (`Calibration.promise`). If more images improve the network, it
scores new parts lower than the K networks do and rejects fewer.
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
from model.dataset.split import units
from model.durable import write_durably
from model.errors import CheckpointError, ConfigError, DatasetError
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD
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
    """One of the K networks: its run, its training images, and the images to score."""

    run: Run
    data: TrainingData
    left_out: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedFold:
    """A fold's network after its training of `seconds`, and the images it has and has not seen."""

    run: Run
    network: MambaAD
    detector: Detector
    train: tuple[Sample, ...]
    left_out: tuple[Sample, ...]
    seconds: float


Examine = Callable[[TrainedFold], None]
"""Called with each fold's network before it is forgotten; must not change it or raise."""


def train(
    run: Run,
    data: TrainingData,
    *,
    monitor: Monitor | None = None,
    fold_monitor: Monitor | None = None,
    stop: Callable[[], bool] = training.never,
    examine: Examine = lambda _fold: None,
) -> Checkpoint | None:
    """Train like `model.training.run.train`; if the recipe has folds, train their networks first.

    `fold_monitor` follows the folds' networks, `monitor` the final one; the first process calls
    `examine` with each fold's network. Returns None in all processes if the run stops before the
    final network.
    """
    calibrations = None
    folds: list[Fold] = []
    config = run.recipe.training
    if config.folds:
        check(run, data)
        training.check_run(run, data)
        follower = fold_monitor or Monitor()
        data = data.keep_apart(config.watch_fraction, config.seed)
        folds = deal(run, data)
        begin(run, folds)
        if (shown := show_folds(folds, follower, stop, examine)) is None:
            return None
        calibrations = fit(shown, config)
        follower.stage("all images")
        # `check_run` above has refused an unfinished run, so the folds on disk are of this run.
        run = replace(run, resume=run.resume and has_begun(run), restart=True, expects=False)
    elif run.restart and run.group.leads:
        forget_folds(run)
    checkpoint = training.train(run, data, monitor=monitor, stop=stop, calibrations=calibrations)
    if checkpoint and checkpoint.manifest.training["finished"]:
        forget_networks(folds)
    return checkpoint


def check(run: Run, data: TrainingData) -> None:
    """Raise `ConfigError` for options that folds do not support."""
    if data.held_out:
        raise ConfigError(
            f"folds need all good images for training, but {len(data.held_out)} are held out: "
            "use either folds or held-out images"
        )
    if run.max_minutes is not None:
        raise ConfigError(
            "--max-minutes does not work with folds, because it would stop the networks at "
            "different epochs: give fewer epochs instead"
        )


def deal(run: Run, data: TrainingData) -> list[Fold]:
    """Divide each category's good images into folds, by seed and name; see `split_good`.

    Raises `DatasetError` for a category with fewer images, or sets that look the same, than folds.
    """
    config = run.recipe.training
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in sorted(data.train, key=lambda sample: (sample.path.name, sample.path)):
        groups[sample.category].append(sample)
    place: dict[Sample, int] = {}
    for category, group in groups.items():
        if len(group) < config.folds:
            raise DatasetError(
                f"{category!r} has {len(group)} good images, expected at least one for each of "
                f"{config.folds} folds"
            )
        random.Random(f"{config.seed}/{category}/folds").shuffle(group)
        different = units(group, data.together)
        if len(different) < config.folds:
            raise DatasetError(
                f"only {len(different)} of the {len(group)} good images of {category!r} look "
                f"different, expected at least one for each of {config.folds} folds"
            )
        place |= {s: i % config.folds for i, unit in enumerate(different) for s in unit}
    return [
        Fold(
            run=replace(
                run, folder=run.folder / f"{FOLD_FOLDERS}{fold + 1}", restart=True, expects=not fold
            ),
            data=replace(data, train=tuple(s for s in data.train if place[s] != fold)),
            left_out=tuple(s for s in data.train if place[s] == fold),
        )
        for fold in range(config.folds)
    ]


def has_begun(run: Run) -> bool:
    """Whether there is a state to resume; all processes of a group return the first's answer."""
    return run.group.first((run.folder / STATE_FILE).is_file())


def begin(run: Run, folds: Sequence[Fold]) -> None:
    """Delete leftovers before a new run; for `resume`, check that there is a run to resume."""
    if run.resume:
        begun = any(has_begun(fold.run) for fold in folds)
        scored = any((fold.run.folder / SCORES_FILE).is_file() for fold in folds)
        if not run.group.first(begun or scored):
            raise CheckpointError(f"nothing to resume: no run in folds in {run.folder}")
        return
    if run.group.leads:
        forget_folds(run)
        (run.folder / STATE_FILE).unlink(missing_ok=True)


def forget_folds(run: Run) -> None:
    """Delete the folders of an earlier run in folds."""
    for folder in run.folder.glob(f"{FOLD_FOLDERS}*"):
        shutil.rmtree(folder)


def show_folds(
    folds: Sequence[Fold],
    monitor: Monitor,
    stop: Callable[[], bool],
    examine: Examine = lambda _fold: None,
) -> dict[Category, Shown] | None:
    """Return every image's values from the network that was not trained on it.

    Returns None if stopped. Only the first process of a group has the scores.
    """
    shown: defaultdict[Category, Shown] = defaultdict(Shown)
    for number, fold in enumerate(folds, 1):
        identity = identify(fold)
        scores = fold.run.group.first(read_scores(fold, identity))
        if scores is None:
            monitor.stage(f"fold {number}/{len(folds)}")
            scores = learn_fold(fold, monitor, stop, examine)
            if scores is None:
                return None
            if fold.run.group.leads:
                write_scores(fold, identity, scores)
        for category, values in scores.items():
            shown[category].raw_scores += values.raw_scores
            shown[category].pixel_peaks += values.pixel_peaks
    return dict(sorted(shown.items()))


def learn_fold(
    fold: Fold, monitor: Monitor, stop: Callable[[], bool], examine: Examine = lambda _fold: None
) -> dict[Category, Shown] | None:
    """Train one fold's network and score its left-out images; None if stopped."""
    run = replace(fold.run, resume=fold.run.resume and has_begun(fold.run))

    def finish(trainer: Trainer, _ended: str) -> dict[Category, Shown] | None:
        if not trainer.finished:
            return None
        if not run.group.leads:
            return {}
        with trainer.final_weights() as network:
            detector = training.build_detector(run, trainer, network)
            shown = show(detector, run.recipe.scoring, fold.left_out)
            examine(
                TrainedFold(
                    run=run,
                    network=network,
                    detector=detector,
                    train=trainer.data.train,
                    left_out=fold.left_out,
                    seconds=sum(record.seconds for record in trainer.place.history),
                )
            )
            return shown

    return training.learn(run, fold.data, finish, monitor=monitor, stop=stop)


def fit(shown: Mapping[Category, Shown], config: TrainingConfig) -> dict[Category, Calibration]:
    """Return thresholds from the pooled scores, marked with the number of folds."""
    return {
        category: Calibration.fit(
            values.raw_scores, values.pixel_peaks, config.alpha, folds=config.folds
        )
        for category, values in shown.items()
    }


def identify(fold: Fold) -> dict[str, Any]:
    """Return everything that a resumed run must have in common with a fold's scores."""
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
    """Write a fold's scores; raises `CheckpointError` for a failed write."""
    values = {"identity": identity, "shown": {k: asdict(v) for k, v in shown.items()}}
    path = fold.run.folder / SCORES_FILE
    try:
        write_durably(path, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"cannot write the fold's scores {path}: {error}") from error


def read_scores(fold: Fold, identity: Mapping[str, Any]) -> dict[Category, Shown] | None:
    """Return a fold's scores, or None if there are none yet.

    Raises `CheckpointError` if they are damaged, or of another recipe or other images.
    """
    path = fold.run.folder / SCORES_FILE
    if not fold.run.resume or not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        shown = {category: Shown(**entry) for category, entry in values["shown"].items()}
        stored = values["identity"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a file of a fold's scores: {error}") from error
    check_identity(fold.run.folder, identity, stored)
    return shown


def forget_networks(folds: Sequence[Fold]) -> None:
    """Delete the folds' networks, but not their recipes, curves and scores."""
    for fold in folds:
        for file in (STATE_FILE, RECORD_FILE):
            (fold.run.folder / file).unlink(missing_ok=True)
