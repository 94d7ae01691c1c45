"""Whether good images look like those that a calibration was made from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.calibration.calibration import Calibration
from model.calibration.conformal import column

FEW = 10
"""Of fewer images the range is widened by its own width: their lowest and highest say little."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The median raw score of new good images, and the range in which that was to be expected."""

    median: float
    low: float
    high: float
    good_images: int

    @property
    def is_alike(self) -> bool:
        """Whether the median lies in the range, its ends included."""
        return self.low <= self.median <= self.high


def compare_good(former: Calibration, raw_scores: npt.ArrayLike) -> Likeness | None:
    """Compare the scores of good images with those of a former calibration.

    None where that keeps no range: it is from before `good_quantiles`.
    """
    if former.good_quantiles is None:
        return None
    low, high = former.good_quantiles[0], former.good_quantiles[-1]
    if former.good_images < FEW:
        width = max(high - low, former.image_scale)
        low, high = low - width, high + width
    median = float(np.median(column("raw_scores", raw_scores)))
    return Likeness(median, low, high, former.good_images)
