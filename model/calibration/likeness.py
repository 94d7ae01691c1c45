"""Check whether good images score like those of a former calibration."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.calibration.calibration import Calibration
from model.calibration.conformal import column

FEW = 10
"""With fewer images, the expected range is widened by its width on both sides."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The median raw score of new good images, and its expected range."""

    median: float
    low: float
    high: float
    good_images: int

    @property
    def is_alike(self) -> bool:
        """Whether the median is in the range, including its ends."""
        return self.low <= self.median <= self.high


def compare_good(former: Calibration, raw_scores: npt.ArrayLike) -> Likeness | None:
    """Compare the scores of good images with those of a former calibration.

    Returns None for an older calibration without `good_quantiles`.
    """
    if former.good_quantiles is None:
        return None
    low, high = former.good_quantiles[0], former.good_quantiles[-1]
    if former.good_images < FEW:
        width = max(high - low, former.image_scale)
        low, high = low - width, high + width
    median = float(np.median(column("raw_scores", raw_scores)))
    return Likeness(median, low, high, former.good_images)
