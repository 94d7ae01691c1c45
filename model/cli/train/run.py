"""Runs a training from the command line: progress, interrupt and final report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from rich.console import Console

from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.cli.advising import TrainingEnd, advise_after_training
from model.cli.train.images import read_areas
from model.cli.train.options import RunOptions, SourceOptions, TrackingOptions
from model.training import Run, TrainingData
from model.training import folds as training
from model.training.advice import check_fold, check_time
from model.training.choice import RecipeChoice
from model.training.folds import TrainedFold
from model.training.parallel.group import Group, join
from model.training.progress import monitor as monitoring
from model.training.progress.interrupt import stop_on_interrupt
from model.training.progress.monitor import Monitor, Monitors
from model.training.progress.tracking import MLflow
from model.training.recipe.recipe import Recipe

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells, so that a script does not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """The command's arguments: the recipe, the images and the outputs."""

    name: str
    recipe: Recipe
    choice: RecipeChoice | None = None
    source: SourceOptions
    run: RunOptions

    def begin(self, group: Group, device: str, categories: tuple[str, ...]) -> Run:
        """Return the run of one training process."""
        return Run(
            name=self.name,
            folder=self.run.runs / self.name,
            store=CheckpointStore(self.run.weights),
            recipe=self.recipe,
            choice=self.choice.to_dict() if self.choice else None,
            device=device,
            resume=self.run.resume,
            restart=self.run.restart,
            save_every_s=60 * self.run.save_every_minutes,
            max_minutes=self.run.max_minutes,
            areas=read_areas(self.source.roi, self.source.ignore, categories),
            cache=self.source.cache,
            license=self.run.license,
            notice=self.run.notice,
            group=group,
            check_time=(check_time(self.recipe.training.folds) if self.run.self_check else None),
        )


def follow(request: TrainRequest, images: TrainingData) -> Checkpoint | None:
    """Train on these images; None in all processes but the first."""
    config = request.recipe.training
    with join(request.run.device) as (group, device):
        console = Console(stderr=True, quiet=not group.leads)
        parts = images.keep_apart(config.watch_fraction, config.seed)
        watched = f"{len(parts.watch)} to watch, " if parts.watch else ""
        calibration = (
            f"in {config.folds} folds" if config.folds else f"{len(parts.held_out)} held out"
        )
        console.print(
            f"{len(parts.train)} good images to train on, {watched}{calibration}, "
            f"of {', '.join(parts.categories)}",
            highlight=False,
        )
        if request.choice is not None:
            tell_choice(console, request.choice)
        run = request.begin(group, device, images.categories)
        checkpoint = watch_training(console, run, images, request.run)
        if checkpoint is None and group.leads:
            print("stopped before the last network: continue with the same command and --resume")
            raise typer.Exit(INTERRUPTED)
    if checkpoint:
        report(checkpoint, run.store)
        end = TrainingEnd(
            store=run.store,
            checkpoint=checkpoint,
            images=images,
            folder=run.folder,
            device=device,
        )
        advise_after_training(end, check=request.run.self_check)
    return checkpoint


def tell_choice(console: Console, choice: RecipeChoice) -> None:
    """Print why the recipe was chosen, and the warnings."""
    for reason in choice.reasons:
        console.print(reason, highlight=False, markup=False)
    if choice.base is not None:
        console.print("any option, --set or --recipe NAME overrides this", highlight=False)
    for warning in choice.warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False)


def watch_training(
    console: Console, run: Run, images: TrainingData, options: RunOptions
) -> Checkpoint | None:
    """Train with progress on the console; Ctrl-C saves the run and stops."""
    tracking = options.tracking

    def notice() -> None:
        console.print("stopping after this step; Ctrl-C again stops immediately without saving")

    with watched(console, run, tracking) as (shown, monitor), stop_on_interrupt(notice) as stop:

        def examine(fold: TrainedFold) -> None:
            if options.self_check:
                shown.stage("self-check of this fold")
                check_fold(fold, stop)

        return training.train(
            run, images, monitor=monitor, fold_monitor=shown, stop=stop, examine=examine
        )


@contextmanager
def watched(
    console: Console, run: Run, tracking: TrackingOptions
) -> Iterator[tuple[Monitor, Monitor]]:
    """Yield the console monitor, and the same with MLflow if requested."""
    with monitoring.watch(console) as shown:
        if tracking.mlflow is None or not run.group.leads:
            yield shown, shown
            return
        parameters = dict(run.recipe.flat())
        experiment = tracking.mlflow_experiment
        server = MLflow(tracking.mlflow, experiment, run.name, run.folder, parameters)
        yield shown, Monitors(shown, server)


def report(checkpoint: Checkpoint, store: CheckpointStore) -> None:
    """Print the saved checkpoint and what each category's threshold promises."""
    learned = checkpoint.manifest.training
    for category, calibration in checkpoint.calibrations.items():
        print(f"{category}: {calibration.promise()}")
    print(f"saved {checkpoint.name}, version {checkpoint.version}, in {store.root}")
    if learned["kept"] != "last":
        best = learned["kept"]
        print(f"kept epoch {best['epoch']}, held-out loss {best['held_out_loss']:.4f}")
    if not learned["finished"]:
        print(
            f"stopped in epoch {learned['epochs_done'] + 1} of {learned['recipe']['epochs']}: "
            "continue with the same command and --resume"
        )
