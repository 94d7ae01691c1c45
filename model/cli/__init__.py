"""The command line: one command a module, one clear line for every error.

What takes long to import (torch and all that stands on it) is imported when a command runs, so
that `mambaad --help` answers at once.
"""

import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from model.cli.benchmark import benchmark
from model.cli.checkpoints.calibrate import calibrate
from model.cli.checkpoints.export import export
from model.cli.checkpoints.golden import golden
from model.cli.checkpoints.importing import import_checkpoint
from model.cli.data import data
from model.cli.evaluate.compare import compare
from model.cli.evaluate.evaluate import evaluate
from model.cli.evaluate.reproduce import reproduce
from model.cli.predict import predict
from model.cli.train.train import train
from model.errors import ModelError

__all__ = ["app"]

MISTAKE = 2
"""Exit code for what the caller can put right, as for a misspelt option."""

_OF_TORCH = {"torch", "torchvision", "timm", "numba", "einops"}
"""What the extra `torch` brings, and serving ONNX files does without."""


class Commands(TyperGroup):
    """Commands that say a `ModelError` in one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (the type differs between typer's versions)
        """Run the command that was asked for."""
        _print_any_name()
        try:
            return super().invoke(ctx)
        except ModelError as error:
            typer.echo(f"mambaad: {error}", err=True)
            raise typer.Exit(MISTAKE) from error
        except ModuleNotFoundError as error:
            if error.name not in _OF_TORCH:
                raise
            typer.echo(
                f"mambaad: this command needs {error.name}, which is not installed: "
                "pip install 'mambaad-service[torch]'",
                err=True,
            )
            raise typer.Exit(MISTAKE) from error


def _print_any_name() -> None:
    """Let file names that are not UTF-8 be printed, with an escape for each strange byte."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


app = typer.Typer(
    cls=Commands,
    help="Train, calibrate, evaluate and use MambaAD networks that inspect parts for defects.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(calibrate)
app.command()(golden)
app.command()(evaluate)
app.command()(compare)
app.command()(predict)
app.command("import")(import_checkpoint)
app.command()(benchmark)
app.add_typer(data, name="data")
app.command()(export)
app.command()(reproduce)
