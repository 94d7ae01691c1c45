"""One category's part of a report: charts, promise, rates, and pictures of the worst cases."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from model.calibration.calibration import Calibration
from model.evaluation import CategoryMetrics, ImageRecord
from model.evaluation.assessment import CategoryRates
from model.evaluation.contradictions import contradictions
from model.inspection import Category, Decision
from model.metrics import Ranking
from model.report import charts, facts
from model.report.pictures import Case, Nearness, cases, colour_scale
from model.report.rate_charts import cost_chart, size_chart, trade_off_chart
from model.report.subject import Subject

WORST = 8
GALLERY = 6
"""Number of images shown per kind of defect, from the lowest score to the highest."""

_SATURATED = 0.95
_RAW_AXIS = (
    "Nearly all scores on the scale from 0 to 1 are 0 or 1, so raw scores are shown. Above the "
    "threshold a part is NG."
)
_ONE_KIND = "Left out: {} need both good and defective test images."
_NO_MASK = "Left out: the size of defects is not known, because no test image has a mask."
_NO_DEFECT = "Left out: no defective test images."


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart and its caption."""

    chart: Markup
    caption: str


@dataclass(slots=True)
class Section:
    """One category's part of the page; `absent` are reasons for figures that are left out."""

    name: Category
    metrics: CategoryMetrics
    calibration: Calibration
    figures: list[Figure]
    promise: str
    denied: list[str]
    promises: list[facts.Promise]
    rates: CategoryRates | None
    size_figure: Figure | None
    absent: dict[str, str]
    scale: Markup
    scale_text: str
    false_rejects: list[Case] = field(default_factory=list)
    near_rejects: list[Case] = field(default_factory=list)
    escapes: list[Case] = field(default_factory=list)
    galleries: dict[str, list[Case]] = field(default_factory=dict)


def section_of(subject: Subject, category: Category, rates: CategoryRates | None) -> Section:
    """Draw and describe one category; without `rates`, no figure depends on thresholds."""
    detector, evaluation = subject.detector, subject.evaluation
    records = [r for r in evaluation.records if r.sample.category == category]
    calibration = detector.calibrations[category]
    denied = [] if subject.stand_in else contradictions(evaluation, detector.calibrations)
    nearness = nearness_of(records, calibration)
    section = Section(
        name=category,
        metrics=evaluation.categories[category],
        calibration=calibration,
        figures=[*_score_figures(category, records, calibration)],
        promise=calibration.promise(),
        denied=[promise.text() for promise in denied if promise.category == category],
        promises=facts.promises(calibration),
        rates=rates,
        size_figure=None,
        absent={},
        scale=colour_scale(),
        scale_text=nearness.text(),
    )
    if rates is not None:
        _add_rates(section, rates)
    _add_cases(section, subject, records, nearness)
    return section


def nearness_of(records: Sequence[ImageRecord], calibration: Calibration) -> Nearness:
    """Return the scale of maps, from the median pixel of the good images to the threshold."""
    medians = [r.map_median for r in records if r.sample.is_good and r.map_median is not None]
    low = float(np.median(medians)) if medians else None
    return Nearness(low, calibration.pixel_threshold)


def _add_rates(section: Section, rates: CategoryRates) -> None:
    operation, name = rates.operation, section.name
    if operation is None:
        section.absent["rates"] = _ONE_KIND.format("false rejects against escapes, and costs,")
    else:
        review = section.calibration.review_threshold
        bands = "Band and bars: Wilson's 95 % intervals at each threshold."
        if review is not None:
            bands += " REVIEW counts as OK at the threshold for NG, and as NG at that for REVIEW."
        section.figures += [
            Figure(
                trade_off_chart(f"False rejects against escapes of {name}", operation, review),
                f"False rejects against escapes over all thresholds. {bands}",
            ),
            Figure(
                cost_chart(f"Mean cost of a part of {name} by threshold", operation),
                f"Mean cost of a part by threshold: a false reject costs "
                f"{operation.prices.false_reject:g}, an escape {operation.prices.escape:g}, and "
                f"{100 * operation.defective_share:.3g} % of parts are defective. Band: 95 % of "
                "resamplings of the images.",
            ),
        ]
    if rates.has_sizes:
        section.size_figure = Figure(
            size_chart(f"Found defects of {name} by size", rates.sizes),
            "Defects decided NG or REVIEW, by the share of the image that their mask covers. Bars: "
            "Wilson's 95 % intervals; open circles stand on fewer than 30 images.",
        )
    else:
        section.absent["sizes"] = _NO_MASK if section.metrics.defective else _NO_DEFECT


def _add_cases(
    section: Section, subject: Subject, records: Sequence[ImageRecord], nearness: Nearness
) -> None:
    def drawn(chosen: Sequence[ImageRecord], scale: Nearness | None = None) -> list[Case]:
        return list(cases(subject.detector, chosen, subject.data, scale))

    by_score = sorted(records, key=lambda record: (record.raw_score, str(record.sample.path)))
    rejected = [record for record in reversed(by_score) if record.is_false_reject]
    passed = [record for record in by_score if record.is_escape]
    section.false_rejects = drawn(rejected[:WORST], nearness)
    if not rejected:
        good = [record for record in reversed(by_score) if record.sample.is_good]
        section.near_rejects = drawn(good[:4], nearness)
    section.escapes = drawn(passed[:WORST], nearness)
    for defect in section.metrics.defects:
        of_kind = [record for record in by_score if record.sample.defect == defect]
        section.galleries[defect] = drawn(_spread(of_kind, GALLERY))


def _spread(records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    """Return `count` records, evenly spaced from the first to the last."""
    if len(records) <= count:
        return list(records)
    return [records[round(place)] for place in np.linspace(0, len(records) - 1, count)]


def _is_saturated(records: Sequence[ImageRecord]) -> bool:
    """Whether almost all scores are in the outermost bars of a histogram from 0 to 1."""
    scores = np.array([record.score for record in records])
    edge = 1 / charts.BINS
    return bool(np.mean((scores < edge) | (scores > 1 - edge)) >= _SATURATED)


def _score_figures(
    category: Category, records: Sequence[ImageRecord], calibration: Calibration
) -> list[Figure]:
    raw = _is_saturated(records)
    axis = _RAW_AXIS if raw else "Above 0.5 a part is NG."
    drawn = [
        Figure(
            _histogram(category, records, calibration, raw=raw),
            f"Scores of good and of defective images. {axis}",
        )
    ]
    defective = np.array([not record.sample.is_good for record in records])
    if defective.any() and not defective.all():
        caption = "Precision and recall over all thresholds."
        drawn.append(Figure(_precision_recall(category, records, defective), caption))
    return drawn


def _histogram(
    category: Category, records: Sequence[ImageRecord], calibration: Calibration, *, raw: bool
) -> Markup:
    defective = np.array([not record.sample.is_good for record in records])
    if raw:
        scores = np.array([record.raw_score for record in records])
        title = f"Raw scores of {category}, good and defective images; the threshold is marked"
        marks = (calibration.image_threshold, calibration.review_threshold)
        return charts.histogram(title, scores[~defective], scores[defective], *marks, axis=None)
    scores = np.array([record.score for record in records])
    review = calibration.review_threshold
    at = None if review is None else calibration.score(review)
    title = f"Scores of {category}, good and defective images; above 0.5 is NG"
    return charts.histogram(title, scores[~defective], scores[defective], 0.5, at)


def _precision_recall(
    category: Category, records: Sequence[ImageRecord], defective: np.ndarray
) -> Markup:
    ranking = Ranking(defective, np.array([record.raw_score for record in records]))
    recall, precision = ranking.precision_recall()
    rejected = np.array([record.decision is Decision.NG for record in records])
    caught = float(np.mean(rejected[defective]))
    right = float(np.mean(defective[rejected])) if rejected.any() else 1.0
    return charts.line_chart(
        f"Precision and recall of {category}",
        [charts.Line("PR", recall, precision)],
        ("Recall", "Precision"),
        (0.0, 1.0),
        (0.0, 1.0),
        (caught, right, "threshold"),
    )
