"""Thresholds that an operator has set instead of the calibrated ones.

A threshold belongs to a category *and* a version, because it is in one network's units.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.calibration.calibration import Calibration
from model.limits import LARGEST_NUMBER

RawScore = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


class Threshold(BaseModel):
    """A threshold of raw scores that an operator has set, with author, time and reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: RawScore
    review_threshold: RawScore | None = None
    who: str
    reason: str
    at: datetime

    @model_validator(mode="after")
    def _check_review(self) -> "Threshold":
        if self.review_threshold is not None and self.review_threshold >= self.threshold:
            raise ValueError(
                f"review_threshold must be below threshold ({self.threshold:g}), "
                f"got {self.review_threshold:g}"
            )
        return self

    def applied_to(self, calibration: Calibration) -> Calibration:
        """Return the calibration with these thresholds."""
        return calibration.with_thresholds(image=self.threshold, review=self.review_threshold)


def promise(calibration: Calibration, threshold: Threshold | None) -> str:
    """Return a sentence about the promise of the threshold in force."""
    if threshold is None:
        return calibration.promise()
    return (
        f"Set by {threshold.who} on {threshold.at:%Y-%m-%d}, which makes no promise. The "
        f"calibrated threshold is {calibration.image_threshold:.6g}: {calibration.promise()}"
    )
