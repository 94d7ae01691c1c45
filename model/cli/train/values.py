"""Parse options that have several numbers."""

import re

from model.errors import ConfigError


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
