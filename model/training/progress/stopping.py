"""Decide when a run ends: all epochs done, no improvement, or the time used up."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import CheckpointError
from model.training.progress.state import STATE_FILE, EpochRecord, Place, differences, read_run
from model.training.recipe.config import TrainingConfig

_OTHERWISE = "To discard it: --restart. To keep both: another --name"


def stopped_early(config: TrainingConfig, history: Sequence[EpochRecord]) -> bool:
    """Whether the last `patience` epochs did not lower the loss on the watched images."""
    return ran_out(config.patience, history)


def ran_out(patience: int, history: Sequence[EpochRecord]) -> bool:
    """Whether the last `patience` epochs did not lower the loss; False if `patience` is 0."""
    losses = [r.held_out_loss for r in history if r.held_out_loss is not None]
    if not patience or len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])


def is_finished(config: TrainingConfig, place: Place) -> bool:
    """Whether a run at `place` is complete."""
    return place.epoch >= config.epochs or (
        place.step == 0 and stopped_early(config, place.history)
    )


def check_unfinished(folder: Path, fold_folders: str, identity: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` if `folder` has a run that is unfinished by that run's recipe.

    `identity` is the known part of the new run's; `fold_folders` is the pattern of the folders of a
    run in folds, whose networks are deleted at its end.
    """
    if any(folder.glob(f"{fold_folders}/{STATE_FILE}")):
        raise CheckpointError(
            f"{folder} has an unfinished run in folds. To continue it: {_again(folder)}. "
            f"{_OTHERWISE}"
        )
    stored = read_run(folder)
    if stored is None:
        return
    began = stored.identity.get("training", {})
    patience, epochs = began.get("patience", 0), began.get("epochs")
    stopped = stored.place.step == 0 and ran_out(patience, stored.place.history)
    if stopped or (epochs is not None and stored.place.epoch >= epochs):
        return  # a record without a number of epochs counts as unfinished
    wanted = dict(identity)
    changed = differences(wanted, {key: stored.identity.get(key) for key in wanted})
    other = f", begun with another recipe ({'; '.join(changed)})" if changed else ""
    go_on = _again(folder) if changed else "the same command with --resume"
    raise CheckpointError(
        f"{folder} has an unfinished run, {stored.place.epoch} of {epochs} epochs done{other}. "
        f"To continue it: {go_on}. {_OTHERWISE}"
    )


def _again(folder: Path) -> str:
    return f"--recipe {folder / 'recipe.yaml'} --resume, without other options of the recipe"


class Budget:
    """A limit of wall-clock time from now on; None: no limit."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left_s(self) -> float:
        """The seconds left, infinite without a limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()
