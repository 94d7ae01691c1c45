"""Ways to reduce an anomaly map to one number, the same for every compared method.

The highest pixel or the mean of the highest 1 %, each with and without a border of a sixteenth of
each side: convolutions see padding there, and some methods score it highest.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

TOP_FRACTION = 0.01
MARGIN = 1 / 16
SCORES = {
    "max": "highest pixel",
    "top": "mean of the highest 1 %",
    "max_inner": "highest pixel, no border",
    "top_inner": "mean of the highest 1 %, no border",
}


def score_maps(maps: Float[np.ndarray, "n h w"]) -> Mapping[str, Float[np.ndarray, " n"]]:
    """Return the scores of each map, one array for each of `SCORES`."""
    height, width = maps.shape[1:]
    rows, columns = round(MARGIN * height), round(MARGIN * width)
    inner = maps[:, rows : height - rows, columns : width - columns]
    scores = {}
    for name, part in (("", maps), ("_inner", inner)):
        flat = part.reshape(len(maps), -1)
        count = max(1, round(TOP_FRACTION * flat.shape[1]))
        top = np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:]
        scores[f"max{name}"] = flat.max(axis=1)
        scores[f"top{name}"] = top.mean(axis=1, dtype=np.float64)
    return scores
