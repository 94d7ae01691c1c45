"""In what a network was made otherwise than the paper's."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from model.training.recipe.recipe import Recipe, read_recipe

_NO_MATTER = {"seed", "alpha", "held_out_fraction"}
"""What changes no network, or changes which images it learns from: those are compared as such."""


def departures(
    network: Mapping[str, Any],
    scoring: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    training: Mapping[str, Any] | None,
) -> list[str]:
    """Return each value that is not the recipe `paper`'s, as "epochs 6 (paper: 1000)".

    The first three are a manifest's; `training` is its recipe, None where it is not known. Values
    that an older manifest does not have are not compared.
    """
    paper = Recipe.from_values(read_recipe("paper"))
    learned = asdict(paper.training) | {"learning_rate": paper.training.peak_learning_rate}
    return [
        *_differing(network, asdict(paper.network)),
        *_differing(preprocessing, {"resize": paper.images.resize}),
        *_differing(scoring, asdict(paper.scoring)),
        *_differing(training or {}, learned),
    ]


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if key in _NO_MATTER or key not in found:
            continue
        if isinstance(value, Mapping):
            yield from _differing(found[key], value)
        elif _plain(found[key]) != _plain(value):
            yield f"{key} {_plain(found[key])} (paper: {_plain(value)})"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
