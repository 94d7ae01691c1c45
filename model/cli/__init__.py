"""The command line: one module per command, one line per error.

Commands import torch and other slow modules when they run, so that `mambaad --help` stays fast.
"""

import io
import logging
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from model.cli.benchmark import benchmark
from model.cli.checkpoints.advise import advise
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
"""Exit code for the caller's mistakes, such as a misspelt option."""

_OF_TORCH = {"torch", "torchvision", "timm", "numba", "einops"}
"""Packages of the extra `torch`, which serving ONNX files does not need."""


class Commands(TyperGroup):
    """Commands that print a `ModelError` as one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (the type differs between typer's versions)
        """Run the command."""
        _print_any_name()
        _print_compilations()
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
    """Print file names that are not UTF-8 with an escape for each invalid byte."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_compilations() -> None:
    """Print when kernels are compiled, because the command seems to hang meanwhile."""
    logger = logging.getLogger("model.scan.numba")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(_ToStderr())


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        typer.echo(f"mambaad: {record.getMessage()}", err=True)


app = typer.Typer(
    cls=Commands,
    help="Train, calibrate, evaluate and use MambaAD networks that inspect parts for defects.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(advise)
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
