"""Prints the skipped files of a data set."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from model.dataset import Dataset

_SHOWN = 2


def tell_passed_over(dataset: "Dataset") -> None:
    """Print renamed categories and skipped files, except harmless ones.

    `mambaad data check` lists all of them.
    """
    for category, name in dataset.names.items():
        typer.echo(f"category {name!r} is renamed to {category}", err=True)
    counted = [
        f"{len(files)} {reason} ({', '.join(files[:_SHOWN])}{', ...' if files[_SHOWN:] else ''})"
        for reason, files, harmless in dataset.passed_over_by_reason()
        if not harmless
    ]
    if counted:
        typer.echo(f"skipped: {'; '.join(counted)}", err=True)
