"""What the anomaly map usually is at each place of a good part.

Some places of a good part are harder to reconstruct than others: bus bars, edges, print. Where
parts lie the same way in every image, measuring each pixel from what good parts show at that very
place lifts the defects out of that pattern. The baseline is taken from the images trained on, so
that the held-out ones, which set the thresholds, meet it as the parts to come will.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from model.errors import CalibrationError

DEVIATION_FLOOR = 0.5
"""The share of the mean deviation that is added everywhere: places that hardly ever vary must not
turn noise into alarms."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Mean and deviation of one category's good maps at each pixel; `deviation` is above 0."""

    mean: Float32[np.ndarray, "h w"]
    deviation: Float32[np.ndarray, "h w"]

    @classmethod
    def fit(cls, batches: Iterable[Float[np.ndarray, "_ h w"]]) -> "Baseline":
        """Take the baseline of maps that come in batches. Raises `CalibrationError` below two."""
        count, total, squares = 0, np.zeros(()), np.zeros(())
        for maps in batches:
            exact = maps.astype(np.float64)
            count += len(exact)
            total = total + exact.sum(axis=0)
            squares = squares + np.square(exact).sum(axis=0)
        if count < 2:
            raise CalibrationError(f"a baseline needs at least two good images, got {count}")
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        floor = DEVIATION_FLOOR * deviation.mean()
        if not floor > 0:
            raise CalibrationError("all good maps are the same: nothing deviates from them")
        return cls(mean.astype(np.float32), (deviation + floor).astype(np.float32))

    @property
    def nbytes(self) -> int:
        """The memory it takes."""
        return self.mean.nbytes + self.deviation.nbytes

    def standardise(
        self, values: Float[np.ndarray, "*batch h w"]
    ) -> Float32[np.ndarray, "*batch h w"]:
        """Return maps in deviations from what is usual at each place."""
        deviations: np.ndarray = ((values - self.mean) / self.deviation).astype(np.float32)
        return deviations

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what is stored."""
        return {"mean": self.mean, "deviation": self.deviation}
