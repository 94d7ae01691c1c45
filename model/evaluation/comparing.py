"""Compare two checkpoints on the same images: metrics with intervals, and changed decisions.

Both use the same resamplings (`seed_of`), and differences are taken per resampling. So images that
are hard for both checkpoints do not widen the interval.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from model.dataset import Sample
from model.errors import DatasetError
from model.evaluation.results import METRICS, RATES, Evaluation, ImageRecord, Interval, percent
from model.inspection import Category, Decision
from model.metrics.resampling import Replicates, interval
from model.tables import NamedRows

_HEADING = 16
"""The longest checkpoint name for a column heading."""


_LEAST_WRONG_FIRST = (Decision.OK, Decision.REVIEW, Decision.NG)
"""Decisions on a good part, best first; reversed for a defective part."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of both checkpoints, and the second minus the first with its 95 % interval."""

    first: float
    second: float
    difference: float
    interval: Interval

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True, slots=True)
class Change:
    """An image on which the decisions differ."""

    first: ImageRecord
    second: ImageRecord

    @property
    def sample(self) -> Sample:
        """The image."""
        return self.first.sample

    @property
    def is_better(self) -> bool:
        """Whether the second decision is nearer to the truth: OK for good parts, NG for defects.

        REVIEW is between OK and NG.
        """
        steps = _LEAST_WRONG_FIRST if self.sample.is_good else _LEAST_WRONG_FIRST[::-1]
        return steps.index(self.second.decision) < steps.index(self.first.decision)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences per category and on average, and every changed decision."""

    first: Evaluation
    second: Evaluation
    categories: Mapping[Category, Mapping[str, Difference]]
    mean: Mapping[str, Difference]
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the differences and changed decisions as JSON values."""
        return {
            "categories": {c: _plain(metrics) for c, metrics in self.categories.items()},
            "mean": _plain(self.mean),
            "changes": [
                {
                    "image": str(change.sample.path),
                    "category": change.sample.category,
                    "defect": change.sample.defect,
                    "decisions": [str(change.first.decision), str(change.second.decision)],
                    "scores": [change.first.score, change.second.score],
                    "better": change.is_better,
                }
                for change in self.changes
            ],
        }

    def table(self, names: tuple[str, str]) -> Group:
        """Return a table in percent with one row per category and metric.

        Names too long for a heading are listed above the table, as A and B.
        """
        above, heads = [], names
        if max(map(len, names)) > _HEADING:
            heads = ("A", "B")
            above = [Text(f"{head}: {name}") for head, name in zip(heads, names, strict=True)]
        title = "In percent; differences in points, with 95 % intervals"
        table = NamedRows(title, "Metric", [*heads, "Difference", "Interval"])
        parts = dict(self.categories)
        if len(parts) > 1:
            parts["mean"] = self.mean
        for number, (category, metrics) in enumerate(parts.items()):
            table.add(category, style="underline", section=number > 0)
            for name, metric in metrics.items():
                low, high = (f"{100 * end:+.1f}" for end in metric.interval)
                values = [percent(metric.first), percent(metric.second)]
                cells = [*values, f"{100 * metric.difference:+.1f}", f"{low} to {high}"]
                table.add(name, cells, "bold" if metric.is_sure else "")
        return Group(*above, table)


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two evaluations; raises `DatasetError` if their images differ."""
    if [r.sample for r in first.records] != [r.sample for r in second.records]:
        raise DatasetError(
            "cannot compare two evaluations of different images: evaluate both on the same images"
        )
    categories = {}
    for category, first_metrics in first.categories.items():
        values = [
            {name: getattr(metrics, name) for name in METRICS}
            for metrics in (first_metrics, second.categories[category])
        ]
        drawn = (first.replicates[category], second.replicates[category])
        categories[category] = _differences(values[0], values[1], *drawn)
    means = (first.mean_replicates, second.mean_replicates)
    pairs = zip(first.records, second.records, strict=True)
    changes = [Change(a, b) for a, b in pairs if a.decision is not b.decision]
    changes.sort(key=lambda change: (change.is_better, str(change.sample.path)))
    return Comparison(
        first, second, categories, _differences(first.mean, second.mean, *means), tuple(changes)
    )


def better_higher(name: str) -> bool:
    """Whether a higher value of a metric is better; for rates, lower is better."""
    return name not in RATES


def _differences(
    first: Mapping[str, float | None],
    second: Mapping[str, float | None],
    drawn_first: Replicates,
    drawn_second: Replicates,
) -> dict[str, Difference]:
    differences = {}
    for name in METRICS:
        a, b = first[name], second[name]
        if a is None or b is None or name not in drawn_first or name not in drawn_second:
            continue
        pair = interval(drawn_second[name] - drawn_first[name])
        differences[name] = Difference(a, b, b - a, pair)
    return differences


def _plain(metrics: Mapping[str, Difference]) -> dict[str, Any]:
    return {k: {**asdict(d), "interval": list(d.interval)} for k, d in metrics.items()}
