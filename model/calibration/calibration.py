"""Thresholds from held-out good parts, with a promise that does not depend on the network.

Each is a conformal quantile (`model.calibration.conformal`) of what held-out good parts show: of
good parts like those, at most a share `alpha` is rejected, since NG means strictly above.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from model.calibration.conformal import (
    check_rate,
    column,
    conformal_quantile,
    exact,
    percent,
    ranks_above,
)
from model.calibration.numbers import check_numbers, check_quantiles
from model.calibration.operating_point import Goal, OperatingPoint, choose
from model.errors import CalibrationError, NonFiniteOutput
from model.inspection import Decision
from model.limits import LARGEST_NUMBER

MEDIAN_SCORE = 0.1
"""The score of the median held-out good part, where the scores spread at all."""

QUANTILES = tuple(step / 20 for step in range(21))
"""The shares of held-out good parts at which `good_quantiles` stand."""

_OPTIONAL = ("review_threshold", "good_quantiles", "review_alpha", "folds", "operating_point")
_LOG_ODDS = math.log((1 - MEDIAN_SCORE) / MEDIAN_SCORE)
_NO_SPREAD = 1e-9
_MOST_IMAGES = 10**9
_MOST_FOLDS = 1000
_BELOW_ONE = math.nextafter(1.0, 0.0)
_ABOVE_ZERO = math.nextafter(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is normal for one category: two thresholds, and how raw values become scores.

    Thresholds and scales are in the network's own units; a scale is the distance from the median
    good part to the threshold. The pixel threshold stands on the highest pixel of each good image,
    so its promise too is about images: at most that share of good ones shows any region at all.
    Raw scores above `review_threshold`, where there is one, and not above `image_threshold` are
    for a person to decide. `good_quantiles` are the raw scores of the held-out good parts at
    `QUANTILES`, from the lowest to the highest: what later scores are compared with.
    `review_alpha` is the share of good parts that NG and REVIEW take together, at most. `folds` is
    how many networks scored the images where none were held out: each those that it had not
    learned from. `operating_point` tells of thresholds chosen with defective examples, too.
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
        """Set both thresholds from held-out good images, none of which was trained on.

        `raw_scores` holds one raw score and `pixel_peaks` the highest map value of each image.
        With `review_alpha`, a REVIEW band begins where that share of good parts lies above.
        Raises `CalibrationError` for empty, unequal or non-finite input, or an impossible `alpha`.
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

        `raw_scores` are those of the good images that this was fitted to. Raises
        `CalibrationError` for empty or non-finite scores.
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
        """The fewest good images with which `alpha` can be promised."""
        return math.ceil(1 / exact(self.alpha)) - 1

    @property
    def guaranteed_rate(self) -> float:
        """The share of good parts rejected, at most, on average over draws of the held-out images.

        At most `alpha` with `images_needed` images or more; 1 / (n + 1), which is above `alpha`,
        with fewer.
        """
        return ranks_above(self.good_images, self.alpha) / (self.good_images + 1)

    def rate_bound(self, confidence: float = 0.95) -> float:
        """Bound the false-reject rate of this very threshold, with the `confidence` given.

        `guaranteed_rate` is an average over draws; a single draw of n images can be unlucky. The
        realised rate follows Beta(n + 1 - k, k) for scores without ties.
        """
        if not 0 < confidence < 1:
            raise CalibrationError(f"confidence must be between 0 and 1, got {confidence}")
        above = ranks_above(self.good_images, self.alpha)
        return float(betaincinv(above, self.good_images + 1 - above, confidence))

    def promise(self) -> str:
        """Say in a few sentences what the images can promise."""
        point = self.operating_point
        if point is None:
            return self._promise_of_good_parts()
        if not point.keeps_alpha:
            return point.text()
        return f"{self._promise_of_good_parts()} {point.text()}"

    def _promise_of_good_parts(self) -> str:
        n, asked = self.good_images, percent(self.alpha)
        luck = f"With 95 % confidence this threshold rejects at most {percent(self.rate_bound())}."
        if self.folds is not None:
            few = n < self.images_needed
            more = f" ({asked} was asked, and takes {self.images_needed} images)" if few else ""
            return (
                f"No good images were held out: {self.folds} networks scored {n}, each those it "
                f"had not learned from. About {percent(self.guaranteed_rate)} of good parts{more} "
                "are rejected where the final network scores as they did; that is an estimate, and "
                "no promise: hold good images out for one."
            )
        if self.review_alpha is not None:
            luck += f" At most {percent(self.review_alpha)} of good parts are rejected or reviewed."
        if n >= self.images_needed:
            return (
                f"Of good parts like the {n} held out, at most {asked} are rejected on average "
                f"(needs at least {self.images_needed} good images; have {n}). {luck}"
            )
        images = "image" if n == 1 else "images"
        return (
            f"{n} held-out good {images} cannot promise {asked} (needs at least "
            f"{self.images_needed}): of good parts like these, at most "
            f"{percent(self.guaranteed_rate)} are rejected on average. {luck}"
        )

    def decide(self, raw: float) -> Decision:
        """Decide by a raw image score; NG only strictly above `image_threshold`.

        Raises `NonFiniteOutput` for NaN, which is neither above a threshold nor below it.
        """
        if math.isnan(raw):
            raise NonFiniteOutput("a raw score of NaN decides nothing")
        if raw > self.image_threshold:
            return Decision.NG
        if self.review_threshold is not None and raw > self.review_threshold:
            return Decision.REVIEW
        return Decision.OK

    def with_thresholds(self, *, image: float, review: float | None = None) -> "Calibration":
        """Return the same scales about other thresholds, which promise nothing any more.

        Raises `CalibrationError` unless they are finite and `review` lies below `image`.
        """
        return replace(self, image_threshold=image, review_threshold=review)

    def score(self, raw: float) -> float:
        """Put a raw image score on the 0 to 1 scale: 0.5 at the threshold, rising with `raw`.

        Above 0 and below 1 always; the last digits run out about 17 scales above the threshold.
        Raises `NonFiniteOutput` for NaN.
        """
        return _logistic(raw, self.image_threshold, self.image_scale)

    def pixel_score(self, raw: float) -> float:
        """Put a raw map value on the 0 to 1 scale, 0.5 at the pixel threshold; see `score`."""
        return _logistic(raw, self.pixel_threshold, self.pixel_scale)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; optional ones only where they are there."""
        values = asdict(self)
        for name in _OPTIONAL:  # absent, so that programs before them read the manifest, too
            if values[name] is None:
                del values[name]
        if self.good_quantiles is not None:
            values["good_quantiles"] = list(self.good_quantiles)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Build from `to_dict` output; raises `CalibrationError` unless every field is there."""
        expected = {field.name for field in fields(cls) if field.default is MISSING}
        if set(values) - set(_OPTIONAL) != expected:
            raise CalibrationError(
                f"a calibration has the fields {', '.join(sorted(expected))}; "
                f"got {', '.join(sorted(values)) or 'none'}"
            )
        rest = dict(values)
        quantiles, point = rest.pop("good_quantiles", None), rest.pop("operating_point", None)
        if not isinstance(quantiles, list | tuple | NoneType):
            raise CalibrationError(f"good_quantiles must be a list, got {quantiles!r}")
        check_numbers([*rest.items(), *(("good_quantiles", q) for q in quantiles or ())])
        return cls(
            **rest,
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
    """Return the distance from the median to the threshold, or a stand-in where there is none."""
    spread = threshold - float(np.median(scores))
    if spread > _NO_SPREAD * abs(threshold):
        return spread
    return abs(threshold) or 1.0


def _logistic(raw: float, threshold: float, scale: float) -> float:
    if math.isnan(raw):
        raise NonFiniteOutput("a raw score of NaN cannot be put on the 0 to 1 scale")
    odds = _LOG_ODDS * (float(raw) - threshold) / scale
    # exp is only ever taken of a negative number: no overflow on either side.
    tail = math.exp(-abs(odds)) / (1 + math.exp(-abs(odds)))
    return min(1 - tail, _BELOW_ONE) if odds > 0 else max(tail, _ABOVE_ZERO)
