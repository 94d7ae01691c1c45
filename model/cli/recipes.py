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
    ctx: typer.Context, recipe: str | None, preset: str | None, settings: list[str]
) -> dict[str, Any]:
    """Return what the recipe says, then the preset, given options and --set; the last word counts.

    Without a recipe the options' defaults stand in its place.
    """
    from model.training.recipe import merge, read_preset, read_recipe, read_setting

    values = read_recipe(recipe) if recipe else _options(ctx, given=False)
    if preset is not None:
        values = merge(values, read_preset(preset))
    values = merge(values, _options(ctx, given=True))
    for text in settings:
        values = merge(values, read_setting(text))
    return values


def _options(ctx: typer.Context, *, given: bool) -> dict[str, Any]:
    """Return the values of the options that were given, or of those that were not."""
    from model.training.recipe import merge, nest, paths

    places = {path.rpartition(".")[2]: path for path in paths()}
    places["score_statistic"] = places.pop("statistic")
    values: dict[str, Any] = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name in places and given is (source is not None and source.name == "COMMANDLINE"):
            read = READERS.get(name)
            values = merge(values, nest(places[name], read(value) if read else value))
    return values
