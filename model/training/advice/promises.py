"""How many held-out good images the next promises need, from the conformal rule."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model.calibration.calibration import Calibration
from model.calibration.conformal import guaranteed_rate, images_needed

RATES = (0.05, 0.02, 0.01, 0.005, 0.001)
"""The false-reject rates that people ask for."""


@dataclass(frozen=True, slots=True)
class NextPromise:
    """A false-reject rate, the held-out good images it needs, and how many of them are missing.

    `in_all` is the number of good images of which the held-out share is large enough.
    """

    alpha: float
    needed: int
    missing: int
    in_all: int

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "alpha": self.alpha,
            "needed": self.needed,
            "missing": self.missing,
            "in_all": self.in_all,
        }


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the good images of a category promise, and what more of them would.

    `good_images` set the thresholds, of `in_all`; `rate` is their bound of the false-reject rate,
    without folds a promise. `folds_rate` is the estimate if all images set the thresholds in folds.
    """

    alpha: float
    good_images: int
    in_all: int
    held_out_share: float
    rate: float
    is_promise: bool
    folds_rate: float
    next_promises: tuple[NextPromise, ...]

    @property
    def shares_images(self) -> bool:
        """Whether thresholds get a share of all images; else their images come from elsewhere."""
        return (
            not self.is_promise or _share_of(self.in_all, self.held_out_share) == self.good_images
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "alpha": self.alpha,
            "good_images": self.good_images,
            "in_all": self.in_all,
            "held_out_share": self.held_out_share,
            "rate": self.rate,
            "is_promise": self.is_promise,
            "folds_rate": self.folds_rate,
            "shares_images": self.shares_images,
            "next": [promise.to_dict() for promise in self.next_promises],
        }


def outlook(calibration: Calibration, in_all: int, held_out_share: float) -> Outlook:
    """Return what more good images would promise, for `alpha` and the next finer of `RATES`.

    `in_all` counts the good images for training and thresholds, `held_out_share` is the share of
    them that a training without folds holds out.
    """
    alpha, images = calibration.alpha, calibration.good_images
    is_promise = calibration.folds is None
    held_out = images if is_promise else 0
    return Outlook(
        alpha=alpha,
        good_images=images,
        in_all=in_all,
        held_out_share=held_out_share,
        rate=guaranteed_rate(images, alpha),
        is_promise=is_promise,
        folds_rate=guaranteed_rate(in_all, alpha),
        next_promises=tuple(_next(alpha, held_out, held_out_share)),
    )


def _next(alpha: float, held_out: int, share: float) -> Iterator[NextPromise]:
    finer = max((rate for rate in RATES if rate < alpha), default=None)
    wanted = {alpha, *(rate for rate in RATES if rate > alpha), *([finer] if finer else [])}
    for rate in sorted(wanted, reverse=True):
        needed = images_needed(rate)
        if needed > held_out:
            yield NextPromise(rate, needed, needed - held_out, images_in_all(needed, share))


def images_in_all(held_out: int, share: float) -> int:
    """Return the fewest images of which `split_good` holds out at least `held_out`."""
    if held_out == 1:  # one is held out at least
        return 2
    images = max(held_out + 1, int((held_out - 0.5) / share) - 1)
    while _share_of(images, share) < held_out:
        images += 1
    return images


def _share_of(images: int, share: float) -> int:
    """Return how many of these images `split_good` holds out."""
    return min(max(round(share * images), 1), images - 1)
