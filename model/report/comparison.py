"""The report of two checkpoints on the same images: differences and changed decisions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from model.checkpoints.manifest import Manifest
from model.evaluation import Change, Comparison, Difference
from model.evaluation.comparing import better_higher
from model.evaluation.score_files import relative_name
from model.evaluation.timing import Times
from model.inference.detector import Detector
from model.inspection import Category
from model.report import charts, facts
from model.report.page import COLUMNS, write_page
from model.report.pictures import Case, heatmap, inspect_again, mask, photograph
from model.report.subject import Advance

SHOWN = 24
"""Number of changed decisions shown as pictures per group; the table lists all."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two checkpoints, their names on the page, and their comparison."""

    names: tuple[str, str]
    detectors: tuple[Detector, Detector]
    manifests: tuple[Manifest, Manifest]
    comparison: Comparison
    data: Path
    times: Times | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A metric's row in a table."""

    name: str
    metric: Difference
    verdict: str


def write_comparison(file: Path, pair: Pair, advance: Advance = lambda _images: None) -> None:
    """Write the page; calls `advance(1)` after each drawn change.

    Raises `ModelError` if the file cannot be written.
    """
    comparison = pair.comparison
    groups = {
        "Worse in the second": [c for c in comparison.changes if not c.is_better],
        "Better in the second": [c for c in comparison.changes if c.is_better],
    }
    shown = {
        title: list(_cases(pair, changes[:SHOWN], advance)) for title, changes in groups.items()
    }
    tables = {category: _rows(metrics) for category, metrics in comparison.categories.items()}
    if len(tables) > 1:
        tables["mean"] = _rows(comparison.mean)
    context = {
        "title": f"{pair.names[0]} and {pair.names[1]}",
        "names": pair.names,
        "times": pair.times,
        "tables": tables,
        "chart": {category: _scatter(pair, category) for category in comparison.categories},
        "groups": groups,
        "shown": shown,
        "changes": comparison.changes,
        "images": len(comparison.first.records),
        "kinds": facts.kinds([record.sample for record in comparison.first.records]),
        "checkpoints": [facts.checkpoint_facts(manifest) for manifest in pair.manifests],
        "run_facts": facts.run_facts(pair.data, pair.detectors[0].engine),
    }
    write_page(file, "comparison.html.j2", context)


def _rows(metrics: Mapping[str, Difference]) -> list[Row]:
    rows = []
    for name, metric in metrics.items():
        if not metric.is_sure:
            verdict = "not significant"
        else:
            verdict = "better" if (metric.difference > 0) == better_higher(name) else "worse"
        rows.append(Row(COLUMNS.get(name, "Recall at PIMO's rate"), metric, verdict))
    return rows


def _scatter(pair: Pair, category: Category) -> Markup:
    """Draw every image's two scores, with good and defective images as different marks."""
    records = zip(pair.comparison.first.records, pair.comparison.second.records, strict=True)
    pairs = [(a, b) for a, b in records if a.sample.category == category]
    points = {
        kind: [(a.score, b.score) for a, b in pairs if a.sample.is_good is good]
        for kind, good in (("good", True), ("defective", False))
    }
    return charts.scatter(f"Scores of {category} by both checkpoints", points, pair.names)


def _cases(pair: Pair, changes: Sequence[Change], advance: Advance) -> Iterator[Case]:
    for change in changes:
        sample = change.sample
        heatmaps = [
            heatmap(detector, sample, inspect_again(detector, sample), f"heatmap by {name}")
            for name, detector in zip(pair.names, pair.detectors, strict=True)
        ]
        shown = [photograph(pair.detectors[0], sample), *heatmaps, mask(sample)]
        yield Case(
            name=relative_name(sample.path, pair.data),
            truth=sample.defect,
            decision=str(change.second.decision),
            score=change.second.score,
            note=f"was {change.first.decision} at {change.first.score:.3f}",
            pictures=tuple(picture for picture in shown if picture is not None),
        )
        advance(1)
