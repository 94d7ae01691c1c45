"""Thresholds from held-out good parts, with a guarantee that does not depend on the network.

Each threshold is a conformal quantile (`model.calibration.conformal`) of the held-out good parts'
scores: at most a share `alpha` of similar good parts is rejected, because NG means strictly above.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from model.calibration.conformal import (
    check_rate,
    column,
    conformal_quantile,
    guaranteed_rate,
    images_needed,
    percent,
    ranks_above,
)
from model.calibration.numbers import check_numbers, check_quantiles
from model.calibration.operating_point import Goal, OperatingPoint, choose
from model.errors import CalibrationError, NonFiniteOutput
from model.inspection import Decision
from model.limits import LARGEST_NUMBER

MEDIAN_SCORE = 0.1
"""The score of the median held-out good part, unless all scores are equal."""

QUANTILES = tuple(step / 20 for step in range(21))
"""The quantile levels of `good_quantiles`."""

_OPTIONAL = ("review_threshold", "good_quantiles", "review_alpha", "folds", "operating_point")
_LOG_ODDS = math.log((1 - MEDIAN_SCORE) / MEDIAN_SCORE)
_NO_SPREAD = 1e-9
_MOST_IMAGES = 10**9
_MOST_FOLDS = 1000
_BELOW_ONE = math.nextafter(1.0, 0.0)
_ABOVE_ZERO = math.nextafter(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds of one category, and its conversion of raw values to scores.

    Thresholds and scales are in the network's units; a scale is the distance from the median good
    part to the threshold. The pixel threshold is calibrated on the highest pixel of each good
    image, so at most a share `alpha` of good images shows any region. Raw scores above
    `review_threshold`, if set, and not above `image_threshold` are REVIEW. `good_quantiles` are the
    raw scores of the held-out good parts at `QUANTILES`; later scores are compared with them.
    `review_alpha` is the largest share of good parts that are NG or REVIEW. `folds` is the number
    of networks in cross-calibration, where no images are held out and each network scores the
    images that it was not trained on. `operating_point` is set if defective examples were used.
    """

    image_threshold: float
    pixel_threshold: float
    image_scale: float
    pixel_scale: float
    alpha: float
    good_images: int
    review_threshold: float | None = None
    good_quantiles: tuple[float, ...] | None = None
    review_alpha: float | None = None
    folds: int | None = None
    operating_point: OperatingPoint | None = None

    def __post_init__(self) -> None:
        check_rate("alpha", self.alpha)
        for name in ("image_threshold", "pixel_threshold", "image_scale", "pixel_scale"):
            if not abs(getattr(self, name)) <= LARGEST_NUMBER:
                raise CalibrationError(
                    f"{name} must be finite and at most {LARGEST_NUMBER:g}, "
                    f"got {getattr(self, name)!r:.40}"
                )
        if self.image_scale <= 0 or self.pixel_scale <= 0:
            scales = f"{self.image_scale} and {self.pixel_scale}"
            raise CalibrationError(f"scales must be above 0, got {scales}")
        if not 1 <= self.good_images <= _MOST_IMAGES:
            raise CalibrationError(
                f"good_images must be 1 to {_MOST_IMAGES}, got {self.good_images}"
            )
        if self.folds is not None and not 1 <= self.folds <= _MOST_FOLDS:
            raise CalibrationError(f"folds must be 1 to {_MOST_FOLDS}, got {self.folds}")
        if self.review_threshold is not None:
            self._check_review(self.review_threshold)
        if self.review_alpha is not None and not self.alpha <= self.review_alpha < 1:
            raise CalibrationError(
                f"review_alpha must be at least alpha ({self.alpha}) and below 1, "
                f"got {self.review_alpha}"
            )
        if self.good_quantiles is not None:
            check_quantiles(self.good_quantiles, len(QUANTILES))

    @classmethod
    def fit(
        cls,
        raw_scores: npt.ArrayLike,
        pixel_peaks: npt.ArrayLike,
        alpha: float = 0.01,
        review_alpha: float | None = None,
        folds: int | None = None,
    ) -> "Calibration":
        """Set both thresholds from good images that were not used for training.

        `raw_scores` and `pixel_peaks` are each image's raw score and highest map value. With
        `review_alpha`, at most that share of good parts is above the start of the REVIEW band.
        Raises `CalibrationError` for input that is empty, non-finite or of unequal length, or an
        `alpha` outside (0, 1).
        """
        check_rate("alpha", alpha)
        scores, peaks = column("raw_scores", raw_scores), column("pixel_peaks", pixel_peaks)
        if len(scores) != len(peaks):
            raise CalibrationError(
                f"need one pixel peak per raw score, got {len(peaks)} and {len(scores)}"
            )
        image_threshold = conformal_quantile(scores, alpha)
        pixel_threshold = conformal_quantile(peaks, alpha)
        review = None if review_alpha is None else conformal_quantile(scores, review_alpha)
        return cls(
            image_threshold=image_threshold,
            pixel_threshold=pixel_threshold,
            image_scale=_scale(image_threshold, scores),
            pixel_scale=_scale(pixel_threshold, peaks),
            alpha=float(alpha),
            good_images=len(scores),
            good_quantiles=tuple(np.quantile(scores, QUANTILES).tolist()),
            review_threshold=review if review is None or review < image_threshold else None,
            review_alpha=review_alpha,
            folds=folds,
        )

    def for_goal(
        self, goal: Goal, raw_scores: npt.ArrayLike, defective_scores: npt.ArrayLike
    ) -> "Calibration":
        """Choose the thresholds for `goal`, with the raw scores of defective examples.

        `raw_scores` are those of the good images in `fit`. Raises `CalibrationError` for empty or
        non-finite scores.
        """
        scores = column("raw_scores", raw_scores)
        thresholds, point = choose(goal, scores, defective_scores, self.image_threshold)
        return replace(
            self,
            image_threshold=thresholds.image,
            image_scale=_scale(thresholds.image, scores),
            review_threshold=thresholds.review,
            review_alpha=None,
            operating_point=point,
        )

    @property
    def images_needed(self) -> int:
        """The smallest number of good images that can promise `alpha`."""
        return images_needed(self.alpha)

    @property
    def guaranteed_rate(self) -> float:
        """Upper bound of the false-reject rate, on average over draws of the held-out images.

        At most `alpha` with at least `images_needed` images, with fewer 1 / (n + 1), which is more.
        """
        return guaranteed_rate(self.good_images, self.alpha)

    def rate_bound(self, confidence: float = 0.95) -> float:
        """Return an upper bound of this threshold's false-reject rate, with `confidence`.

        `guaranteed_rate` is an average over draws, and a single draw of n images can be unlucky.
        Without ties, the realised rate has the distribution Beta(n + 1 - k, k).
        """
        if not 0 < confidence < 1:
            raise CalibrationError(f"confidence must be between 0 and 1, got {confidence}")
        above = ranks_above(self.good_images, self.alpha)
        return float(scipy.special.betaincinv(above, self.good_images + 1 - above, confidence))

    def promise(self) -> str:
        """Describe in a few sentences which rates the thresholds guarantee."""
        point = self.operating_point
        if point is None:
            return self._promise_of_good_parts()
        if not point.keeps_alpha:
            return point.text()
        return f"{self._promise_of_good_parts()} {point.text()}"

    def _promise_of_good_parts(self) -> str:
        n, target = self.good_images, percent(self.alpha)
        luck = f"With 95 % confidence this threshold rejects at most {percent(self.rate_bound())}."
        if self.folds is not None:
            few = n < self.images_needed
            more = f" ({target} needs at least {self.images_needed} images)" if few else ""
            return (
                f"No good images were held out: {self.folds} networks scored {n} images that they "
                f"were not trained on. About {percent(self.guaranteed_rate)} of good parts{more} "
                "are rejected if the final network scores alike; this is an estimate, not a "
                "promise: hold out good images for a promise."
            )
        if self.review_alpha is not None:
            luck += f" At most {percent(self.review_alpha)} of good parts are rejected or reviewed."
        if n >= self.images_needed:
            return (
                f"Of good parts like the {n} held out, at most {target} are rejected on average "
                f"(needs at least {self.images_needed} good images; have {n}). {luck}"
            )
        images = "image" if n == 1 else "images"
        return (
            f"{n} held-out good {images} cannot promise {target} (needs at least "
            f"{self.images_needed}): of good parts like these, at most "
            f"{percent(self.guaranteed_rate)} are rejected on average. {luck}"
        )

    def decide(self, raw: float) -> Decision:
        """Decide by a raw image score; NG only strictly above `image_threshold`.

        Raises `NonFiniteOutput` for NaN, which no comparison with a threshold can decide.
        """
        if math.isnan(raw):
            raise NonFiniteOutput("cannot decide a raw score of NaN")
        if raw > self.image_threshold:
            return Decision.NG
        if self.review_threshold is not None and raw > self.review_threshold:
            return Decision.REVIEW
        return Decision.OK

    def with_thresholds(self, *, image: float, review: float | None = None) -> "Calibration":
        """Return a copy with other thresholds, which have no guarantee.

        Raises `CalibrationError` unless they are finite and `review` is below `image`.
        """
        return replace(self, image_threshold=image, review_threshold=review)

    def score(self, raw: float) -> float:
        """Convert a raw image score to the 0 to 1 scale: 0.5 at the threshold, rising with `raw`.

        The result is above 0 and below 1; float precision ends about 17 scales above the threshold.
        Raises `NonFiniteOutput` for NaN.
        """
        return _logistic(raw, self.image_threshold, self.image_scale)

    def pixel_score(self, raw: float) -> float:
        """Convert a raw map value to the 0 to 1 scale, 0.5 at the pixel threshold; see `score`."""
        return _logistic(raw, self.pixel_threshold, self.pixel_scale)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, without optional fields that are None."""
        values = asdict(self)
        for name in _OPTIONAL:  # older programs can read the manifest without them
            if values[name] is None:
                del values[name]
        if self.good_quantiles is not None:
            values["good_quantiles"] = list(self.good_quantiles)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Build from `to_dict` output; raises `CalibrationError` for missing or unknown fields."""
        expected = {field.name for field in fields(cls) if field.default is MISSING}
        if set(values) - set(_OPTIONAL) != expected:
            raise CalibrationError(
                f"a calibration must have the fields {', '.join(sorted(expected))}; "
                f"got {', '.join(sorted(values)) or 'none'}"
            )
        numbers = dict(values)
        quantiles, point = numbers.pop("good_quantiles", None), numbers.pop("operating_point", None)
        if not isinstance(quantiles, list | tuple | NoneType):
            raise CalibrationError(f"good_quantiles must be a list, got {quantiles!r}")
        check_numbers([*numbers.items(), *(("good_quantiles", q) for q in quantiles or ())])
        return cls(
            **numbers,
            good_quantiles=None if quantiles is None else tuple(quantiles),
            operating_point=None if point is None else OperatingPoint.from_dict(point),
        )

    def _check_review(self, threshold: float) -> None:
        if not math.isfinite(threshold) or threshold >= self.image_threshold:
            raise CalibrationError(
                f"review_threshold must be finite and below image_threshold "
                f"({self.image_threshold}), got {threshold}"
            )


def _scale(threshold: float, scores: npt.NDArray[np.float64]) -> float:
    """Return the distance from the median to the threshold, or a positive substitute for 0."""
    spread = threshold - float(np.median(scores))
    if spread > _NO_SPREAD * abs(threshold):
        return spread
    return abs(threshold) or 1.0


def _logistic(raw: float, threshold: float, scale: float) -> float:
    if math.isnan(raw):
        raise NonFiniteOutput("cannot convert a raw score of NaN to the 0 to 1 scale")
    odds = _LOG_ODDS * (float(raw) - threshold) / scale
    # exp of a negative number cannot overflow.
    tail = math.exp(-abs(odds)) / (1 + math.exp(-abs(odds)))
    return min(1 - tail, _BELOW_ONE) if odds > 0 else max(tail, _ABOVE_ZERO)
