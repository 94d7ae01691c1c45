"""Makes a named recipe fit for tiles, which have no place of their own on the part."""

from collections.abc import Mapping
from typing import Any

from model.images.framing import TILE
from model.training.recipe.recipe import Values, merge

MEMORY_WEIGHT = {True: 1.0, False: 2.0}
"""The weight of a memory's map where places are compared, or not: where they are compared with
themselves, the decoder's map is the better one."""

FOR_TILES = (
    "tiles have no place of their own on the part: places are not compared, so distance is cosine "
    "instead of mahalanobis"
)


def fit_tiles(values: Values, stated: Mapping[str, Any]) -> tuple[Values, str | None]:
    """Return the values of a recipe for tiles, and why they were changed; None if they were not.

    `stated` are the values that a person has written, which stay as they are.
    """
    scoring = values.get("scoring", {})
    asked = stated.get("scoring", {})
    is_tiled = values.get("images", {}).get("resize") == TILE
    if not is_tiled or scoring.get("distance") != "mahalanobis" or "distance" in asked:
        return values, None
    changes: Values = {"distance": "cosine"}
    reason = FOR_TILES
    if scoring.get("memory") and "memory_weight" not in asked:
        changes["memory_weight"] = MEMORY_WEIGHT[False]
        reason += f", and the memory weighs {MEMORY_WEIGHT[False]:g} times the decoder's map"
    return merge(values, {"scoring": changes}), reason
