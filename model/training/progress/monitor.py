"""Show a run's progress: bars on a terminal, lines in a log."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from model.training.progress.state import EpochRecord, Place

_WIDE = 130
"""Columns needed for bars; narrower consoles show none, so that no figure is cut."""
_LINE_EVERY_S = 60.0


class Monitor:
    """Callbacks of a run; this base class ignores them."""

    def stage(self, name: str) -> None:
        """Start the next of several networks."""

    def expect(self, text: str) -> None:
        """Tell how long the training will take, before its first network."""

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Start the run at `place`."""

    def step(self, place: Place, loss: float) -> None:
        """Report a step's loss; `place` is the next step."""

    def epoch(self, record: EpochRecord) -> None:
        """Report the end of an epoch."""

    def end(self, outcome: Mapping[str, str] | None) -> None:
        """Report the run's outcome (None: it failed) and release all resources."""


class Monitors(Monitor):
    """Forwards every call to several monitors."""

    def __init__(self, *monitors: Monitor) -> None:
        self._monitors = monitors

    def stage(self, name: str) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.stage(name)

    def expect(self, text: str) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.expect(text)

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.begin(epochs, steps_per_epoch, place)

    def step(self, place: Place, loss: float) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.step(place, loss)

    def epoch(self, record: EpochRecord) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.epoch(record)

    def end(self, outcome: Mapping[str, str] | None) -> None:
        """Tell all of them."""
        for monitor in self._monitors:
            monitor.end(outcome)


class Bars(Monitor):
    """One bar for the run and one for the epoch, with loss and time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._run = progress.add_task("run", total=None, note="")
        self._epoch = progress.add_task("epoch", total=None, note="")
        self._epochs = self._steps = 0

    def stage(self, name: str) -> None:
        """Show the network's name on the run's bar."""
        self._progress.update(self._run, description=name)

    def expect(self, text: str) -> None:
        """Print the text above the bars."""
        self._progress.console.print(text, highlight=False)

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Draw both bars at the run's progress."""
        self._epochs, self._steps = epochs, steps_per_epoch
        done = place.epoch * steps_per_epoch + place.step
        self._progress.reset(self._run, total=epochs * steps_per_epoch, completed=done)
        self._progress.reset(self._epoch, total=steps_per_epoch, completed=place.step)

    def step(self, place: Place, loss: float) -> None:
        """Advance both bars by a step."""
        epoch = f"epoch {place.epoch + 1}/{self._epochs}"
        note = f"loss {place.loss_sum / place.step:.4f} {_speed(place)}"
        self._progress.update(self._run, advance=1)
        self._progress.update(self._epoch, completed=place.step, description=epoch, note=note)

    def epoch(self, record: EpochRecord) -> None:
        """Show the epoch's losses on the run's bar and reset the epoch's bar."""
        self._progress.update(self._run, note=_losses(record))
        if record.epoch < self._epochs:
            self._progress.reset(self._epoch, total=self._steps)


class Lines(Monitor):
    """Prints a line per epoch, and one per minute in longer epochs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = self._steps = 0
        self._steps_here = 0
        self._started = self._printed_at = time.monotonic()
        self._left = ""

    def stage(self, name: str) -> None:
        """Print the network's name."""
        self._say(name)

    def expect(self, text: str) -> None:
        """Print the text."""
        self._say(text)

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Print the run's length."""
        self._epochs, self._steps = epochs, steps_per_epoch
        self._steps_here = 0  # of this network; another one may have been trained before
        self._started = self._printed_at = time.monotonic()
        where = f" from epoch {place.epoch + 1}, step {place.step + 1}" if place != Place() else ""
        self._say(f"{epochs} epochs of {steps_per_epoch} steps{where}")

    def step(self, place: Place, loss: float) -> None:
        """Print the progress once a minute."""
        now = time.monotonic()
        self._steps_here += 1
        done = place.epoch * self._steps + place.step
        step_s = (now - self._started) / self._steps_here
        left = timedelta(seconds=round(step_s * (self._epochs * self._steps - done)))
        self._left = f"{left} left"
        if now - self._printed_at >= _LINE_EVERY_S:
            mean = place.loss_sum / place.step
            self._say(
                f"epoch {place.epoch + 1}/{self._epochs} step {place.step}/{self._steps} "
                f"loss {mean:.4f} {_speed(place)} {self._left}"
            )

    def epoch(self, record: EpochRecord) -> None:
        """Print the epoch's losses and speed."""
        self._say(
            f"epoch {record.epoch}/{self._epochs} {_losses(record)} "
            f"lr {record.learning_rate:.2e} "
            f"{_rate(record.images_per_second, record.wait_s, record.seconds)} {self._left}"
        )

    def _say(self, line: str) -> None:
        self._printed_at = time.monotonic()
        self._console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def watch(console: Console) -> Iterator[Monitor]:
    """Show a run on the console: bars on a terminal, otherwise lines."""
    if not console.is_terminal:
        yield Lines(console)
        return
    wide = console.width >= _WIDE
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn()] if wide else []
    columns += [MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TextColumn("left")] if wide else []
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


def _speed(place: Place) -> str:
    return _rate(place.images / max(place.seconds, 1e-9), place.wait_s, place.seconds)


def _rate(images_per_second: float, wait_s: float, seconds: float) -> str:
    return f"{images_per_second:.1f} images/s ({wait_s / max(seconds, 1e-9):.0%} waiting)"


def _losses(record: EpochRecord) -> str:
    if record.held_out_loss is None:
        return f"loss {record.loss:.4f}"
    return f"loss {record.loss:.4f} held out {record.held_out_loss:.4f}"
