"""Write a run's records: its curve as JSON lines, and events for TensorBoard.

    <folder>/recipe.yaml    every value of the recipe
    <folder>/curve.jsonl    one line per epoch with the fields of `EpochRecord`
    <folder>/tensorboard/   tensorboard --logdir <folder>

The training loop writes them directly, so that a failed write is an immediate error.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.durable import write_durably
from model.errors import CheckpointError, ConfigError
from model.training.progress.monitor import Monitor
from model.training.progress.state import EpochRecord, Place

CURVE_FILE = "curve.jsonl"
RECIPE_FILE = "recipe.yaml"
EVENTS = "tensorboard"


def read_curve(folder: Path) -> list[EpochRecord]:
    """Return the epochs in a run's curve file; empty without one."""
    path = folder / CURVE_FILE
    if not path.is_file():
        return []
    try:
        lines = path.read_text("utf-8").splitlines()
        return [EpochRecord(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not the curve of a run: {error}") from error


def thinned(history: Sequence[EpochRecord], points: int = 100) -> dict[str, list[Any]]:
    """Return the curve's columns for at most `points` evenly spaced epochs, including the last."""
    step = -(-len(history) // points) or 1
    records = [*reversed(history[::-1][::step])]
    names = ("epoch", "loss", "held_out_loss", "learning_rate")
    return {name: [_short(getattr(record, name)) for record in records] for name in names}


def write_recipe(folder: Path, text: str) -> None:
    """Write the recipe into the run's folder."""
    with _refusals(folder / RECIPE_FILE):
        folder.mkdir(parents=True, exist_ok=True)
        if text:
            write_durably(folder / RECIPE_FILE, text.encode())


class Curve(Monitor):
    """Writes a line per epoch; a resumed run drops lines after the resumed state."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CURVE_FILE
        self._lines: list[str] = []

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Write the completed epochs."""
        self._lines = [_line(record) for record in place.history]
        self._write()

    def epoch(self, record: EpochRecord) -> None:
        """Write the epoch."""
        self._lines.append(_line(record))
        self._write()

    def _write(self) -> None:
        with _refusals(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, "".join(self._lines).encode())


class TensorBoard(Monitor):
    """Writes scalars per step and per epoch."""

    def __init__(self, folder: Path, recipe: str = "") -> None:
        try:
            from tensorboardX import event_file_writer, proto, summary  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "training needs tensorboardX: pip install 'mambaad-service[train]'"
            ) from error
        self._events, self._protocol, self._summary = event_file_writer, proto, summary
        self._folder = folder / EVENTS
        self._recipe = recipe
        self._writer: Any = None
        self._steps = 1

    def begin(self, epochs: int, steps_per_epoch: int, place: Place) -> None:
        """Open a new events file; a run from its start deletes earlier ones."""
        self._steps = steps_per_epoch
        with _refusals(self._folder):
            if place == Place():
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f".{len(list(self._folder.iterdir()))}"
            self._writer = self._events.EventsWriter(str(self._folder / "events"), name)
        if self._recipe:
            lines = self._recipe.replace("\n", "\n    ")  # a Markdown code block
            self._add(self._summary.text("recipe", f"    {lines}"), 0)

    def step(self, place: Place, loss: float) -> None:
        """Write a step's loss."""
        number = place.epoch * self._steps + place.step
        self._add(self._summary.scalar("step/loss", loss), number)

    def epoch(self, record: EpochRecord) -> None:
        """Write an epoch's figures and flush the file."""
        for name, value in asdict(record).items():
            if name != "epoch" and value is not None:
                self._add(self._summary.scalar(f"epoch/{name}", value), record.epoch)
        with _refusals(self._folder):
            self._writer.flush()

    def end(self, _outcome: Mapping[str, str] | None) -> None:
        """Close the file."""
        if self._writer is not None:
            with _refusals(self._folder):
                self._writer.close()

    def _add(self, summary: Any, step: int) -> None:  # noqa: ANN401 (tensorboardX is untyped)
        event = self._protocol.event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
        with _refusals(self._folder):
            self._writer.write_event(event)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write the run's record {path}: {error}") from error


def _line(record: EpochRecord) -> str:
    return json.dumps(asdict(record)) + "\n"


def _short(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
