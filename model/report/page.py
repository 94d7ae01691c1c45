"""The report of one checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from model.calibration.calibration import Calibration
from model.checkpoints.manifest import Manifest
from model.errors import ModelError
from model.evaluation import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    RATES,
    CategoryMetrics,
    Evaluation,
    ImageRecord,
)
from model.evaluation.contradictions import contradictions
from model.evaluation.rivalry import SCORE_NAMES, Rivalry
from model.evaluation.untouched import Untouched
from model.inference.detector import Detector
from model.inspection import Category, Decision
from model.metrics import Ranking
from model.report import charts, facts
from model.report.pictures import Case, cases

WORST = 8
GALLERY = 6
"""Number of images shown per kind of defect, from the lowest score to the highest."""

COLUMNS = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1_max": "Image F1-max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1_max": "Pixel F1-max",
    "aupro": "AUPRO 30 %",
    "aupro_5": "AUPRO 5 %",
    "aupimo": "AUPIMO",
    "false_reject_rate": "False rejects",
    "escape_rate": "Escapes",
}

_SATURATED = 0.95
_RAW_AXIS = (
    "Nearly all scores on the scale from 0 to 1 are 0 or 1, so raw scores are shown. Above the "
    "threshold a part is NG."
)

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A report's content: a checkpoint and its evaluation.

    `notes` are shown first. With `stand_in` thresholds, the report has no promises and no rates.
    `untouched` is the check whether the checkpoint has seen the test images; None if not done.
    """

    detector: Detector
    manifest: Manifest
    evaluation: Evaluation
    data: Path
    rivalry: Rivalry | None = None
    curve: Mapping[str, Sequence[float | None]] | None = None
    notes: tuple[str, ...] = ()
    stand_in: bool = False
    untouched: Untouched | None = None


@dataclass(slots=True)
class Section:
    """One category's part of the page."""

    name: Category
    metrics: CategoryMetrics
    charts: list[Markup]
    axis: str
    promise: str
    denied: list[str]
    promises: list[facts.Promise]
    calibration: Calibration
    false_rejects: list[Case] = field(default_factory=list)
    near_rejects: list[Case] = field(default_factory=list)
    escapes: list[Case] = field(default_factory=list)
    galleries: dict[str, list[Case]] = field(default_factory=dict)


def write_report(file: Path, subject: Subject, advance: Advance = lambda _categories: None) -> None:
    """Write the page; calls `advance(1)` after each category.

    Raises `ModelError` if the file cannot be written.
    """
    sections = []
    for category in subject.evaluation.categories:
        sections.append(_section(subject, category))
        advance(1)
    has_pixels = subject.evaluation.has_pixels
    rates = () if subject.stand_in else RATES
    samples = [record.sample for record in subject.evaluation.records]
    untouched = subject.untouched or Untouched(len(samples), gap="the check was not requested")
    context = {
        "title": f"{subject.manifest.name}, version {subject.manifest.version}",
        "headlines": [
            headline(subject.evaluation, ("good", "defective"), (*IMAGE_METRICS, *rates)),
            *([headline(subject.evaluation, ("masked",), PIXEL_METRICS)] if has_pixels else []),
        ],
        "sections": sections,
        "untouched": untouched,
        "notes": subject.notes,
        "stand_in": subject.stand_in,
        "has_masks": has_pixels,
        "rivalry": subject.rivalry,
        "score_names": SCORE_NAMES,
        "curve": None if subject.curve is None else _training_chart(subject.curve),
        "kinds": facts.kinds(samples),
        "image_facts": facts.image_facts(samples),
        "checkpoint_facts": facts.checkpoint_facts(subject.manifest),
        "run_facts": facts.run_facts(subject.data, subject.detector.engine.device),
    }
    write_page(file, "evaluation.html.j2", context)


def write_page(file: Path, template: str, context: Mapping[str, Any]) -> None:
    """Render a template and write it. Raises `ModelError` if the file cannot be written."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("model.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "points": points}
    text = environment.get_template(template).render(context)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8", "backslashreplace")  # file names may contain any byte
    except OSError as error:
        raise ModelError(f"cannot write the report {file}: {error}") from error


def headline(evaluation: Evaluation, counts: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return a table of results: headings, one row per category, and the mean."""
    rows = [
        (
            category,
            [getattr(metrics, name) for name in counts],
            [(getattr(metrics, name), metrics.intervals.get(name)) for name in names],
        )
        for category, metrics in evaluation.categories.items()
    ]
    intervals = evaluation.mean_intervals
    mean = [(evaluation.mean[name], intervals.get(name)) for name in names]
    totals = [sum(row[1][place] for row in rows) for place in range(len(counts))]
    return {
        "counts": [f"{name.capitalize()} images" for name in counts],
        "columns": [COLUMNS[name] for name in names],
        "rows": rows,
        "totals": totals,
        "mean": mean,
    }


def percent(value: float | None) -> str:
    """Return a share in percent with one decimal, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"  # noqa: RUF001 - a dash, typeset


def points(value: float | None) -> str:
    """Return a difference in percentage points, with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")  # noqa: RUF001


def _section(subject: Subject, category: Category) -> Section:
    detector, evaluation = subject.detector, subject.evaluation
    records = [r for r in evaluation.records if r.sample.category == category]
    calibration = detector.calibrations[category]
    raw = _is_saturated(records)
    denied = [] if subject.stand_in else contradictions(evaluation, detector.calibrations)
    section = Section(
        name=category,
        metrics=evaluation.categories[category],
        charts=_charts(category, records, calibration, raw=raw),
        axis=_RAW_AXIS if raw else "Above 0.5 a part is NG.",
        promise=calibration.promise(),
        denied=[promise.text() for promise in denied if promise.category == category],
        promises=facts.promises(calibration),
        calibration=calibration,
    )
    by_score = sorted(records, key=lambda record: (record.raw_score, str(record.sample.path)))
    rejected = [record for record in reversed(by_score) if record.is_false_reject]
    passed = [record for record in by_score if record.is_escape]
    section.false_rejects = list(cases(detector, rejected[:WORST]))
    if not rejected:
        good = [record for record in reversed(by_score) if record.sample.is_good]
        section.near_rejects = list(cases(detector, good[:4]))
    section.escapes = list(cases(detector, passed[:WORST]))
    for defect in section.metrics.defects:
        of_kind = [record for record in by_score if record.sample.defect == defect]
        section.galleries[defect] = list(cases(detector, _spread(of_kind, GALLERY)))
    return section


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


def _charts(
    category: Category, records: Sequence[ImageRecord], calibration: Calibration, *, raw: bool
) -> list[Markup]:
    defective = np.array([not record.sample.is_good for record in records])
    drawn = [_histogram(category, records, calibration, raw=raw)]
    if not defective.any() or defective.all():
        return drawn
    ranking = Ranking(defective, np.array([record.raw_score for record in records]))
    rates, recalls = ranking.roc()
    recall, precision = ranking.precision_recall()
    shares = (0.0, 1.0)
    roc = [charts.Line("ROC", rates, recalls)]
    curve = [charts.Line("PR", recall, precision)]
    axes = ("False rejects, share of good", "Defects found")
    rejected = np.array([record.decision is Decision.NG for record in records])
    caught = float(np.mean(rejected[defective]))
    at_roc = (float(np.mean(rejected[~defective])), caught, "threshold")
    right = float(np.mean(defective[rejected])) if rejected.any() else 1.0
    return [
        *drawn,
        charts.line_chart(f"ROC curve of {category}", roc, axes, shares, shares, at_roc),
        charts.line_chart(
            f"Precision and recall of {category}",
            curve,
            ("Recall", "Precision"),
            shares,
            shares,
            (caught, right, "threshold"),
        ),
    ]


def _training_chart(curve: Mapping[str, Sequence[float | None]]) -> Markup:
    lines = []
    for name, label in (("loss", "training"), ("held_out_loss", "held out")):
        coordinates = [
            (epoch, value)
            for epoch, value in zip(curve["epoch"], curve.get(name, ()), strict=False)
            if epoch is not None and value is not None
        ]
        if len(coordinates) > 1:
            lines.append(charts.Line(label, *zip(*coordinates, strict=True)))
    return charts.line_chart("Loss while training", lines, ("Epoch", "Loss"))
