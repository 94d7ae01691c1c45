"""Says what lies in a data set's folder and is not read, in a line on the terminal."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from model.dataset import Dataset

_SHOWN = 2


def tell_passed_over(dataset: "Dataset") -> None:
    """Print which files are passed over, but for those that nobody misses, and renamed categories.

    `mambaad data check` lists all of them.
    """
    for category, name in dataset.names.items():
        typer.echo(f"the category {name!r} is called {category}", err=True)
    counted = [
        f"{len(files)} {reason} ({', '.join(files[:_SHOWN])}{', ...' if files[_SHOWN:] else ''})"
        for reason, files, harmless in dataset.passed_over_by_reason()
        if not harmless
    ]
    if counted:
        typer.echo(f"passed over: {'; '.join(counted)}", err=True)
