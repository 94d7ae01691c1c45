"""The report of one checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from model.evaluation import IMAGE_METRICS, PIXEL_METRICS, RATES, Evaluation
from model.evaluation.assessment import assess
from model.evaluation.counts import FEW
from model.evaluation.rivalry import SCORE_NAMES
from model.evaluation.untouched import Untouched
from model.report import charts, facts, signing
from model.report.page import COLUMNS, write_page
from model.report.rate_charts import edges
from model.report.section import section_of
from model.report.self_check import CheckSection, check_sections, choice_section
from model.report.subject import Advance, Subject


def write_report(file: Path, subject: Subject, advance: Advance = lambda _categories: None) -> None:
    """Write the page; calls `advance(1)` after each category.

    Raises `ModelError` if the file cannot be written.
    """
    assessment = None
    if not subject.stand_in:
        assessment = subject.assessment or assess(subject.evaluation, subject.data)
    sections = []
    for category in subject.evaluation.categories:
        rates = None if assessment is None else assessment.rates[category]
        sections.append(section_of(subject, category, rates))
        advance(1)
    context = {
        "title": f"{subject.manifest.name}, version {subject.manifest.version}",
        "sections": sections,
        "assessment": assessment,
        "few_images": FEW,
        "edges": edges,
        "roles": signing.ROLES,
        "check_sections": [] if subject.stand_in else _checks(subject),
        "choice": choice_section(subject.manifest),
        **_results(subject),
        **_provenance(subject),
    }
    if assessment is not None:
        identity = signing.identity_facts(subject.manifest, assessment)
        context["identity_facts"] = identity
        context["identity_names"] = [name for name, _ in identity]
        context["threshold_rows"] = signing.threshold_rows(subject.detector, subject)
    write_page(file, "evaluation.html.j2", context)


def _checks(subject: Subject) -> list[CheckSection]:
    """Return the self-checks of the evaluated categories."""
    calibrations = subject.detector.calibrations
    evaluated = {category: calibrations[category] for category in subject.evaluation.categories}
    return check_sections(subject.manifest, evaluated)


def _results(subject: Subject) -> dict[str, Any]:
    has_pixels = subject.evaluation.has_pixels
    rates = () if subject.stand_in else RATES
    return {
        "headlines": [
            headline(subject.evaluation, ("good", "defective"), (*IMAGE_METRICS, *rates)),
            *([headline(subject.evaluation, ("masked",), PIXEL_METRICS)] if has_pixels else []),
        ],
        "stand_in": subject.stand_in,
        "has_masks": has_pixels,
        "rivalry": subject.rivalry,
        "score_names": SCORE_NAMES,
        "curve": None if subject.curve is None else _training_chart(subject.curve),
    }


def _provenance(subject: Subject) -> dict[str, Any]:
    samples = [record.sample for record in subject.evaluation.records]
    untouched = subject.untouched or Untouched(len(samples), gap="the check was not requested")
    return {
        "untouched": untouched,
        "notes": subject.notes,
        "kinds": facts.kinds(samples),
        "image_facts": facts.image_facts(samples),
        "checkpoint_facts": facts.checkpoint_facts(subject.manifest),
        "run_facts": facts.run_facts(subject.data, subject.detector.engine),
    }


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
