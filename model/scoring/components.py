"""Connected pixels of a mask, from runs of pixels in its rows.

scipy labels pixels as fast. But importing it takes 24 MB and a third of a second of every process
that inspects, which needs nothing else of it.

    components = Components.of(anomaly_map > threshold)
    components.window(0), components.inside(0)

n  runs      c  components, in the order of their first pixels
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Pixels that touch, also at corners; `numbers` has the component of each run."""

    mask: Bool[np.ndarray, "h w"]
    rows: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " n"]
    stops: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> "Components":
        """Find the components of a mask."""
        height, width = mask.shape
        padded = np.zeros((height, width + 2), dtype=bool)
        padded[:, 1:-1] = mask
        changes = np.flatnonzero(padded[:, 1:] != padded[:, :-1])  # starts and stops in turn
        starts, stops = changes[::2], changes[1::2]
        roots = _roots(starts, stops, width + 1)
        _, numbers = np.unique(roots, return_inverse=True)
        rows = starts // (width + 1)
        before = rows * (width + 1)
        return cls(mask, rows, starts - before, stops - before, numbers)

    @property
    def count(self) -> int:
        """The number of components."""
        return int(self.numbers.max()) + 1 if self.numbers.size else 0

    def highest(self, values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " c"]:
        """Return the highest value in each component."""
        lengths = self.stops - self.starts
        of_runs = np.maximum.reduceat(values[self.mask], np.cumsum(lengths) - lengths)
        highest = np.full(self.count, -np.inf, dtype=values.dtype)
        np.maximum.at(highest, self.numbers, of_runs)
        return highest

    def window(self, number: int) -> tuple[slice, slice]:
        """Return the rows and columns of a component's box."""
        rows, starts, stops = (
            values[self.numbers == number] for values in (self.rows, self.starts, self.stops)
        )
        return slice(rows[0], rows[-1] + 1), slice(starts.min(), stops.max())

    def inside(self, number: int) -> Bool[np.ndarray, "rows columns"]:
        """Return which pixels of a component's box belong to it."""
        inside = np.zeros(self.mask.shape, dtype=bool)
        inside[self.mask] = np.repeat(self.numbers == number, self.stops - self.starts)
        return inside[self.window(number)]


def _roots(
    starts: Int[np.ndarray, " n"], stops: Int[np.ndarray, " n"], stride: int
) -> Int[np.ndarray, " n"]:
    """Return the first run of each run's component; `stride` leads to the row below."""
    first = np.searchsorted(stops, starts + stride, side="left")
    last = np.searchsorted(starts, stops + stride, side="right")
    touching = last - first
    above = np.repeat(np.arange(len(starts)), touching)
    below = np.arange(len(above)) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    roots = np.arange(len(starts))
    while True:
        a, b = roots[above], roots[below]
        if np.array_equal(a, b):
            return roots
        least = np.minimum(a, b)
        np.minimum.at(roots, a, least)
        np.minimum.at(roots, b, least)
        roots = roots[roots]
