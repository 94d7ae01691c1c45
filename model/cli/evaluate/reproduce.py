"""`mambaad reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli.early import find_data
from model.cli.options import STORE, BatchSize, Categories, Device, LocalRoot, Weights
from model.cli.train.images import Cache
from model.cli.train.options import RunOptions
from model.errors import ConfigError, DatasetError

_TRAINING = "Training"

SETS = ("mvtec", "visa", "real-iad")
"""The names in `model.evaluation.paper`, which takes seconds to import."""


def reproduce(
    dataset: Annotated[
        str, typer.Argument(metavar="SET", help="mvtec, visa or real-iad, as published.")
    ],
    *,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the set.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="A published checkpoint (.pth), or a stored one: NAME or NAME/VERSION.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Train first: paper, paper-100, paper-300, another recipe or a YAML file.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of the recipe; repeatable."),
    ] = None,
    category: Categories = None,
    local_root: LocalRoot = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Write a report: one HTML file."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures as JSON.")
    ] = None,
    batch_size: BatchSize = 8,
    device: Device = "cpu",
    weights: Weights = STORE,
    name: Annotated[
        str | None,
        typer.Option(
            help="The trained checkpoint's name; by default reproduce-SET.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    runs: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Unfinished runs: DIR/NAME.", rich_help_panel=_TRAINING),
    ] = Path("runs"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an interrupted run.", rich_help_panel=_TRAINING),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Discard an unfinished run.", rich_help_panel=_TRAINING),
    ] = False,
    cache: Cache = None,
) -> None:
    """Compare a checkpoint's figures on MVTec-AD, VisA or Real-IAD with the paper's.

    Loads a checkpoint, or trains one with a recipe on all good images of the
    train split, as the paper does; evaluates it on the test split; prints our
    figures, the paper's means, the difference in points, and all deviations
    from the paper.

    For example:

      mambaad reproduce mvtec --data data/mvtec --checkpoint net.pth --device cuda

      mambaad reproduce visa --data data/visa --recipe paper-100 --device cuda --report visa.html

      mambaad reproduce real-iad --data data/real-iad --category pcb --checkpoint parts/3
    """
    check_question(dataset, data, checkpoint, recipe, setting or [])
    from model.cli.evaluate.reproduction import Question, answer
    from model.cli.train.run import INTERRUPTED

    question = Question(
        name=dataset,
        data=data,
        checkpoint=checkpoint,
        recipe=recipe,
        settings=setting or [],
        categories=category,
        local_root=local_root,
        report=report,
        json_file=json_file,
        batch_size=batch_size,
        trained_name=name or f"reproduce-{dataset}",
        cache=cache,
        run=RunOptions(device=device, weights=weights, runs=runs, resume=resume, restart=restart),
    )
    if not answer(question):
        raise typer.Exit(INTERRUPTED)


def check_question(
    dataset: str, data: Path, checkpoint: str | None, recipe: str | None, settings: list[str]
) -> None:
    """Raise the errors of options that are known without torch."""
    from model.training.recipe.recipe import read_with

    if dataset not in SETS:
        raise DatasetError(f"expected a data set of the paper ({', '.join(SETS)}), got {dataset!r}")
    if (checkpoint is None) == (recipe is None):
        raise ConfigError("give either --checkpoint FILE|NAME or --recipe RECIPE, not both")
    if settings and recipe is None:
        raise ConfigError("--set changes a recipe: give one with --recipe")
    if recipe is not None:
        read_with(recipe, settings)
    find_data(data)
