"""Parse options that have several numbers, and check values that exclude each other."""

import re
from typing import TYPE_CHECKING

from model.errors import ConfigError

if TYPE_CHECKING:
    from model.training.recipe.recipe import Recipe


def read_size(text: str) -> tuple[int, int]:
    """Read "256" or "256x320" as (height, width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise ConfigError(f"--image-size must be N or HEIGHTxWIDTH in pixels, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def read_depths(text: str) -> tuple[int, ...]:
    """Read "3,4,6,3" as a tuple."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ConfigError(f"--depths must be numbers like 3,4,6,3, got {text!r}")
    return tuple(int(depth) for depth in text.split(","))


def read_weights(text: str) -> tuple[float, float, float]:
    """Read "0,1,2" as three numbers."""
    try:
        fine, middle, coarse = (float(weight) for weight in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--scale-weights must be three numbers like 0,1,2, fine to coarse, got {text!r}"
        ) from error
    return fine, middle, coarse


def check_places(recipe: "Recipe") -> None:
    """Raise `ConfigError` for a recipe that compares places of tiles."""
    from model.images.framing import check_alignment

    check_alignment(recipe.images.resize, recipe.scoring.needs_alignment)
