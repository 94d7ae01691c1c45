"""The usual anomaly map of a good part, pixel by pixel.

Some places of a good part are harder to reconstruct than others: bus bars, edges, print. If parts
lie the same way in every image, measuring each pixel from the values of good parts at that place
makes defects stand out from that pattern.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from model.errors import CalibrationError

DEVIATION_FLOOR = 0.5
"""Added to every deviation, as a share of the mean one: without it, noise in places that hardly
vary would raise alarms."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Mean and deviation of one category's good maps at each pixel; `deviation` is above 0."""

    mean: Float32[np.ndarray, "h w"]
    deviation: Float32[np.ndarray, "h w"]

    @classmethod
    def fit(cls, batches: Iterable[Float[np.ndarray, "_ h w"]]) -> "Baseline":
        """Fit on batches of maps. Raises `CalibrationError` for fewer than two, or equal maps."""
        moments = MapMoments()
        for maps in batches:
            moments.add(maps)
        return moments.baseline()

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.mean.nbytes + self.deviation.nbytes

    def standardise(
        self, values: Float[np.ndarray, "*batch h w"]
    ) -> Float32[np.ndarray, "*batch h w"]:
        """Return maps as deviations from the mean at each pixel."""
        deviations: np.ndarray = ((values - self.mean) / self.deviation).astype(np.float32)
        return deviations

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"mean": self.mean, "deviation": self.deviation}


class MapMoments:
    """Moments of maps at each pixel, from which a baseline is made; they can be added."""

    def __init__(self) -> None:
        self._count, self._total, self._squares = 0, np.zeros(()), np.zeros(())

    def add(self, maps: Float[np.ndarray, "_ h w"]) -> None:
        """Count maps in."""
        exact = maps.astype(np.float64)
        self._count += len(exact)
        self._total = self._total + exact.sum(axis=0)
        self._squares = self._squares + np.square(exact).sum(axis=0)

    def include(self, other: "MapMoments") -> None:
        """Count another's maps in."""
        self._count += other._count
        self._total = self._total + other._total
        self._squares = self._squares + other._squares

    def baseline(self) -> Baseline:
        """Return the baseline; raises `CalibrationError` for fewer than two maps, or equal ones."""
        if self._count < 2:
            raise CalibrationError(f"a baseline needs at least two good images, got {self._count}")
        mean = self._total / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - np.square(mean), 0))
        floor = DEVIATION_FLOOR * deviation.mean()
        if not floor > 0:
            raise CalibrationError(
                "all good maps are equal, so they have no deviation; add different good images"
            )
        return Baseline(mean.astype(np.float32), (deviation + floor).astype(np.float32))
