"""When a run is over: its epochs done, nothing better in sight, or the time used up."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import CheckpointError
from model.training.progress.state import STATE_FILE, EpochRecord, Place, differences, read_run
from model.training.recipe.config import TrainingConfig

_OTHERWISE = "To give it up: --restart. To keep both: another --name"


def stopped_early(config: TrainingConfig, history: Sequence[EpochRecord]) -> bool:
    """Say whether the last `patience` epochs brought no lower loss on the watched images."""
    return ran_out(config.patience, history)


def ran_out(patience: int, history: Sequence[EpochRecord]) -> bool:
    """Say whether the last `patience` epochs brought no lower loss; never where that is 0."""
    losses = [r.held_out_loss for r in history if r.held_out_loss is not None]
    if not patience or len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])


def is_finished(config: TrainingConfig, place: Place) -> bool:
    """Say whether a run that stands at `place` has nothing left to do."""
    return place.epoch >= config.epochs or (
        place.step == 0 and stopped_early(config, place.history)
    )


def check_unfinished(folder: Path, fold_folders: str, identity: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` where `folder` holds an unfinished run, by that run's own recipe.

    `identity` is what the new run would be, as far as it is known; `fold_folders` is the pattern of
    the folders of a run in folds, whose networks stay until its end.
    """
    if any(folder.glob(f"{fold_folders}/{STATE_FILE}")):
        raise CheckpointError(
            f"{folder} holds an unfinished run in folds. To go on with it: {_again(folder)}. "
            f"{_OTHERWISE}"
        )
    found = read_run(folder)
    if found is None:
        return
    began = found.identity.get("training", {})
    patience, epochs = began.get("patience", 0), began.get("epochs")
    stopped = found.place.step == 0 and ran_out(patience, found.place.history)
    if stopped or (epochs is not None and found.place.epoch >= epochs):
        return  # a record that does not say how far it was to go counts as unfinished
    wanted = dict(identity)
    changed = differences(wanted, {key: found.identity.get(key) for key in wanted})
    other = f", begun with another recipe ({'; '.join(changed)})" if changed else ""
    go_on = _again(folder) if changed else "the same command with --resume"
    raise CheckpointError(
        f"{folder} holds an unfinished run, {found.place.epoch} of {epochs} epochs done{other}. "
        f"To go on with it: {go_on}. {_OTHERWISE}"
    )


def _again(folder: Path) -> str:
    return f"--recipe {folder / 'recipe.yaml'} --resume, without other options of the recipe"


class Budget:
    """The wall-clock time that this command may train for, from now on; None: any."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left_s(self) -> float:
        """The seconds left, infinite without a limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()
