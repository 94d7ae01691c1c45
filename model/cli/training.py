"""A training run as the command line asks for it: shown, stopped well, reported."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from model.checkpoint import Checkpoint, CheckpointStore
from model.cli.images import read_areas
from model.cli.values import read_source
from model.training import Run, TrainingData, read_training_data
from model.training import folds as training
from model.training import monitor as monitoring
from model.training.group import Group, join
from model.training.interrupt import stop_on_interrupt
from model.training.monitor import Monitor, Monitors
from model.training.recipe import Recipe
from model.training.tracking import MLflow

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: what was to follow the training does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: the recipe, the images, and where everything goes."""

    recipe: Recipe
    data: Path
    categories: list[str] | None
    layout: str | None
    local_root: Path | None
    roi: list[str] | None
    ignore: list[str] | None
    cache: Path | None
    held_out_dir: Path | None
    name: str
    runs: Path
    weights: Path
    device: str
    resume: bool
    restart: bool
    save_every_minutes: float
    max_minutes: float | None
    mlflow: str | None
    mlflow_experiment: str
    license: str | None
    notice: str | None

    def run(self, group: Group, device: str, categories: tuple[str, ...]) -> Run:
        """Return where the run leaves things, for one of the processes that train."""
        return Run(
            name=self.name,
            folder=self.runs / self.name,
            store=CheckpointStore(self.weights),
            device=device,
            encoder_weights=read_source(self.recipe.encoder_weights),
            resume=self.resume,
            restart=self.restart,
            save_every_s=60 * self.save_every_minutes,
            max_minutes=self.max_minutes,
            recipe=self.recipe.to_yaml(),
            images=self.recipe.images,
            areas=read_areas(self.roi, self.ignore, categories),
            cache=self.cache,
            license=self.license,
            notice=self.notice,
            group=group,
        )


def follow(request: Request, images: TrainingData | None = None) -> Checkpoint | None:
    """Train, on `images` where they are known already; None in all processes but the first."""
    config = request.recipe.training
    images = images or read_training_data(
        request.data,
        request.categories,
        request.held_out_dir,
        config.held_out_fraction,
        config.seed,
        request.layout,
        request.local_root,
        config.folds,
    )
    with join(request.device) as (group, device):
        console = Console(stderr=True, quiet=not group.leads)
        parts = images.keep_apart(config.watch_fraction, config.seed)
        watched = f"{len(parts.watch)} to watch, " if parts.watch else ""
        kept = f"in {config.folds} folds" if config.folds else f"{len(parts.held_out)} held out"
        console.print(
            f"{len(parts.train)} good images to train on, {watched}{kept}, "
            f"of {', '.join(parts.categories)}",
            highlight=False,
        )
        checkpoint = watch_training(
            console, request, request.run(group, device, images.categories), images
        )
        if checkpoint is None and group.leads:
            print("stopped before the last network: the same command with --resume goes on")
            raise typer.Exit(INTERRUPTED)
    if checkpoint:
        report(checkpoint, request)
    return checkpoint


def watch_training(
    console: Console, request: Request, run: Run, images: TrainingData
) -> Checkpoint | None:
    """Train with bars or lines on the console, and stop well on Ctrl-C."""

    def notice() -> None:
        console.print("stopping after this step; Ctrl-C again stops at once, unsaved")

    recipe = request.recipe
    with watched(console, request, run) as (shown, monitor), stop_on_interrupt(notice) as stop:
        return training.train(
            run,
            recipe.training,
            recipe.network,
            images,
            recipe.scoring,
            monitor=monitor,
            fold_monitor=shown,
            stop=stop,
        )


@contextmanager
def watched(console: Console, request: Request, run: Run) -> Iterator[tuple[Monitor, Monitor]]:
    """Give what shows a run on the console, and the same with MLflow if that was asked for."""
    with monitoring.watch(console) as shown:
        if request.mlflow is None or not run.group.leads:
            yield shown, shown
            return
        parameters = dict(request.recipe.flat())
        server = MLflow(request.mlflow, request.mlflow_experiment, run.name, run.folder, parameters)
        yield shown, Monitors(shown, server)


def report(checkpoint: Checkpoint, request: Request) -> None:
    """Say what came of the run, and what each category's threshold promises."""
    learned = checkpoint.manifest.training
    for category, calibration in checkpoint.calibrations.items():
        print(f"{category}: {calibration.promise()}")
    print(f"saved {checkpoint.name}, version {checkpoint.version}, in {request.weights}")
    if learned["kept"] != "last":
        kept = learned["kept"]
        print(f"kept epoch {kept['epoch']}, held-out loss {kept['held_out_loss']:.4f}")
    if not learned["finished"]:
        print(
            f"stopped in epoch {learned['epochs_done'] + 1} of {learned['recipe']['epochs']}: "
            "the same command with --resume goes on"
        )
