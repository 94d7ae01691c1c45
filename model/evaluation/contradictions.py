"""Find test rates that contradict a threshold's promise.

A promise holds for parts like those that set the threshold. If the test shows a rate above the 95 %
bound of the promise by more than chance, the test images are different: another part, camera,
light, crop or file format.
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
    """A rate that was promised with 95 % confidence, and the test's count.

    `rate` is the metric's name, `what` describes the counted parts.
    """

    category: Category
    rate: str
    what: str
    promised: float
    count: int
    images: int
    is_estimate: bool = False

    def text(self) -> str:
        """Return the warning as two sentences."""
        word = "estimated" if self.is_estimate else "promised"
        good = "good" if self.rate == FALSE_REJECTS else "defective"
        return (
            f"{self.category}: these {good} test images are not like those that set the threshold. "
            f"At most {percent(self.promised)} {self.what} is {word} with 95 % confidence, but "
            f"{self.count} of {self.images} ({percent(self.count / self.images)}) were: check for "
            "another camera, light, crop or file format, or calibrate with images like these."
        )


def contradictions(
    evaluation: Evaluation, calibrations: Mapping[Category, Calibration]
) -> list[Contradiction]:
    """Return every promise that the test images contradict, by category."""
    return [
        promise
        for category in evaluation.categories
        for promise in _of_category(category, evaluation, calibrations[category])
        if promise.count / promise.images > promise.promised
        and bdtrc(promise.count - 1, promise.images, promise.promised) < 1 - LEVEL
    ]


def _of_category(
    category: Category, evaluation: Evaluation, calibration: Calibration
) -> Iterator[Contradiction]:
    records = [record for record in evaluation.records if record.sample.category == category]
    good = [record for record in records if record.sample.is_good]
    bad = [record for record in records if not record.sample.is_good]
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
    """Return the upper 95 % confidence bound of a rate by rank; see `Calibration.rate_bound`."""
    return float(betaincinv(above, images + 1 - above, LEVEL))


def _decided(records: list[ImageRecord], decision: Decision) -> int:
    return sum(record.decision is decision for record in records)


def remarks(contradicted: list[Contradiction]) -> dict[tuple[Category, str], list[str]]:
    """Return the remarks on each category's metric, for `Evaluation.table`."""
    texts: dict[tuple[Category, str], list[str]] = {}
    for promise in contradicted:
        texts.setdefault((promise.category, promise.rate), []).append(promise.text())
    return texts
