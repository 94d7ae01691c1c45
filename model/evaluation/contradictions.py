"""Where test images contradict what a threshold promises: they are not like the held-out ones.

A promise is about parts like those that set the threshold. Where the test shows a rate that is too
high to be chance, on the least favourable reading of the promise, the test images are other parts,
or other pictures: another camera, light, crop or file format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scipy.special import bdtrc, betaincinv

from model.calibration.calibration import Calibration
from model.calibration.conformal import percent, ranks_above
from model.evaluation.results import Evaluation, ImageRecord
from model.inspection import Category, Decision
from model.metrics.resampling import LEVEL

FALSE_REJECTS, ESCAPES = "false_reject_rate", "escape_rate"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A rate that was promised with 95 % confidence, and what the test shows.

    `rate` is the metric that shows it, `what` says in words what is counted.
    """

    category: Category
    rate: str
    what: str
    promised: float
    count: int
    images: int
    is_estimate: bool = False

    def text(self) -> str:
        """Say it in two sentences."""
        word = "estimated" if self.is_estimate else "promised"
        good = "good" if self.rate == FALSE_REJECTS else "defective"
        return (
            f"{self.category}: these {good} test images are not like those that set the threshold. "
            f"At most {percent(self.promised)} {self.what} is {word} with 95 % confidence, and "
            f"{self.count} of {self.images} ({percent(self.count / self.images)}) were: look for "
            "another camera, light, crop or file format, or calibrate with images like these."
        )


def contradictions(
    evaluation: Evaluation, calibrations: Mapping[Category, Calibration]
) -> list[Contradiction]:
    """Return every promise that the test images contradict, by category."""
    return [
        one
        for category in evaluation.categories
        for one in _of_category(category, evaluation, calibrations[category])
        if one.count / one.images > one.promised
        and bdtrc(one.count - 1, one.images, one.promised) < 1 - LEVEL
    ]


def _of_category(
    category: Category, evaluation: Evaluation, calibration: Calibration
) -> Iterator[Contradiction]:
    own = [record for record in evaluation.records if record.sample.category == category]
    good = [record for record in own if record.sample.is_good]
    bad = [record for record in own if not record.sample.is_good]
    point, folds = calibration.operating_point, calibration.folds is not None
    if good and (point is None or point.keeps_alpha):
        rejected = _decided(good, Decision.NG)
        yield Contradiction(
            category, FALSE_REJECTS, "of good parts rejected", calibration.rate_bound(LEVEL),
            rejected, len(good), folds,
        )  # fmt: skip
    if good and calibration.review_alpha is not None:
        above = ranks_above(calibration.good_images, calibration.review_alpha)
        yield Contradiction(
            category, FALSE_REJECTS, "of good parts rejected or reviewed",
            _bound(above, calibration.good_images), len(good) - _decided(good, Decision.OK),
            len(good), folds,
        )  # fmt: skip
    if bad and point is not None and point.escape_rate is not None:
        above = round(point.escape_rate * (point.defect_images + 1))
        yield Contradiction(
            category, ESCAPES, "of defects passed as OK", _bound(above, point.defect_images),
            _decided(bad, Decision.OK), len(bad),
        )  # fmt: skip


def _bound(above: int, images: int) -> float:
    """Return what a rate by rank is at most, with 95 % confidence; see `Calibration.rate_bound`."""
    return float(betaincinv(above, images + 1 - above, LEVEL))


def _decided(records: list[ImageRecord], decision: Decision) -> int:
    return sum(record.decision is decision for record in records)


def remarks(found: list[Contradiction]) -> dict[tuple[Category, str], list[str]]:
    """Return what is said of each metric of a category; see `Evaluation.table`."""
    said: dict[tuple[Category, str], list[str]] = {}
    for one in found:
        said.setdefault((one.category, one.rate), []).append(one.text())
    return said
