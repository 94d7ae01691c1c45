"""The recipe of a run, from a file, the options and --set."""

from collections.abc import Callable
from typing import Any

import typer

from model.cli.values import read_depths, read_size, read_weights

READERS: dict[str, Callable[[str], object]] = {
    "image_size": read_size,
    "depths": read_depths,
    "scale_weights": read_weights,
}


def read_recipe_options(
    ctx: typer.Context, recipe: str | None, settings: list[str]
) -> dict[str, Any]:
    """Return what the recipe says, then the options, then --set; the last word counts.

    Without a recipe every option counts, with one those that were given.
    """
    from model.training.recipe import merge, nest, paths, read_recipe, read_setting

    places = {path.rpartition(".")[2]: path for path in paths()}
    places["score_statistic"] = places.pop("statistic")
    values = read_recipe(recipe) if recipe else {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if name in places and (given or not recipe):
            read = READERS.get(name)
            values = merge(values, nest(places[name], read(value) if read else value))
    for text in settings:
        values = merge(values, read_setting(text))
    return values
