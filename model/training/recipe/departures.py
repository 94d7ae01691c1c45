"""List how a network's recipe differs from the paper's."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from model.training.recipe.recipe import Recipe, read_recipe

_NO_MATTER = {"seed", "alpha", "held_out_fraction"}
"""Settings that do not affect the network, or only the choice of images, compared elsewhere."""


def departures(
    network: Mapping[str, Any],
    scoring: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    training: Mapping[str, Any] | None,
) -> list[str]:
    """Return each value that differs from the recipe `paper`, as "epochs 6 (paper: 1000)".

    The first three are from a manifest; `training` is its recipe, or None if unknown. Values
    missing in an older manifest are not compared.
    """
    paper = Recipe.from_values(read_recipe("paper"))
    learned = asdict(paper.training) | {"learning_rate": paper.training.peak_learning_rate}
    return [
        *_differing(network, asdict(paper.network)),
        *_differing(preprocessing, {"resize": paper.images.resize}),
        *_differing(scoring, asdict(paper.scoring)),
        *_differing(training or {}, learned),
    ]


def _differing(actual: Mapping[str, Any], paper: Mapping[str, Any]) -> Iterator[str]:
    for key, value in paper.items():
        if key in _NO_MATTER or key not in actual:
            continue
        if isinstance(value, Mapping):
            yield from _differing(actual[key], value)
        elif _plain(actual[key]) != _plain(value):
            yield f"{key} {_plain(actual[key])} (paper: {_plain(value)})"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
