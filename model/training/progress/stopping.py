"""When a run is over: its epochs done, nothing better in sight, or the time used up."""

import time
from collections.abc import Sequence

from model.training.progress.state import EpochRecord, Place
from model.training.recipe.config import TrainingConfig


def stopped_early(config: TrainingConfig, history: Sequence[EpochRecord]) -> bool:
    """Say whether the last `patience` epochs brought no lower loss on the watched images."""
    losses = [r.held_out_loss for r in history if r.held_out_loss is not None]
    if not config.patience or len(losses) <= config.patience:
        return False
    return min(losses[-config.patience :]) >= min(losses[: -config.patience])


def is_finished(config: TrainingConfig, place: Place) -> bool:
    """Say whether a run that stands at `place` has nothing left to do."""
    return place.epoch >= config.epochs or (
        place.step == 0 and stopped_early(config, place.history)
    )


class Budget:
    """The wall-clock time that this command may train for, from now on; None: any."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left_s(self) -> float:
        """The seconds left, infinite without a limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()
