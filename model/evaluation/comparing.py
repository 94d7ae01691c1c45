"""Two checkpoints on the same images: what differs, how surely, and which parts it decides about.

Both were resampled by the same draws of the same images (`seed_of`), so that a difference is taken
draw by draw: what is hard about some images is hard for both, and falls out of the interval.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from model.dataset import Sample
from model.errors import DatasetError
from model.evaluation.results import METRICS, RATES, Evaluation, ImageRecord, Interval, percent
from model.inspection import Category, Decision
from model.metrics.resampling import Replicates, interval


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of both, and how much more the second has; `interval` is of that, 95 %."""

    first: float
    second: float
    difference: float
    interval: Interval

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no difference out."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True, slots=True)
class Change:
    """An image that the two decide differently."""

    first: ImageRecord
    second: ImageRecord

    @property
    def sample(self) -> Sample:
        """The image."""
        return self.first.sample

    @property
    def is_better(self) -> bool | None:
        """Whether the second is right where the first is not; None where neither is, or both."""
        right = Decision.OK if self.sample.is_good else Decision.NG
        were, are = self.first.decision is right, self.second.decision is right
        return None if were == are else are


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences per category and on average, and every image decided differently."""

    first: Evaluation
    second: Evaluation
    categories: Mapping[Category, Mapping[str, Difference]]
    mean: Mapping[str, Difference]
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the differences and changed decisions as JSON values."""
        return {
            "categories": {c: _plain(found) for c, found in self.categories.items()},
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

    def table(self, names: tuple[str, str]) -> Table:
        """Return a table in percent: a row for each category and metric."""
        table = Table(title="In percent; differences in points, with 95 % intervals")
        for heading in ("Category", "Metric"):
            table.add_column(heading)
        for heading in (*names, "Difference", "Interval"):
            table.add_column(heading, justify="right")
        parts = dict(self.categories)
        if len(parts) > 1:
            parts["mean"] = self.mean
        for category, found in parts.items():
            for name, one in found.items():
                low, high = (f"{100 * end:+.1f}" for end in one.interval)
                cells = [percent(one.first), percent(one.second), f"{100 * one.difference:+.1f}"]
                style = "bold" if one.is_sure else ""
                table.add_row(category, name, *cells, f"{low} to {high}", style=style)
            table.add_section()
        return table


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two evaluations of the same images. Raises `DatasetError` where they are not."""
    if [r.sample for r in first.records] != [r.sample for r in second.records]:
        raise DatasetError("two checkpoints are compared on the same images, and these differ")
    categories = {}
    for category, found in first.categories.items():
        values = [
            {name: getattr(metrics, name) for name in METRICS}
            for metrics in (found, second.categories[category])
        ]
        drawn = (first.replicates[category], second.replicates[category])
        categories[category] = _differences(values[0], values[1], *drawn)
    means = (first.mean_replicates, second.mean_replicates)
    pairs = zip(first.records, second.records, strict=True)
    changes = [Change(one, two) for one, two in pairs if one.decision is not two.decision]
    order = {False: 0, None: 1, True: 2}
    changes.sort(key=lambda change: (order[change.is_better], str(change.sample.path)))
    return Comparison(
        first, second, categories, _differences(first.mean, second.mean, *means), tuple(changes)
    )


def better_higher(name: str) -> bool:
    """Say whether more of a metric is better: of rates it is worse."""
    return name not in RATES


def _differences(
    first: Mapping[str, float | None],
    second: Mapping[str, float | None],
    drawn_first: Replicates,
    drawn_second: Replicates,
) -> dict[str, Difference]:
    found = {}
    for name in METRICS:
        one, two = first[name], second[name]
        if one is None or two is None or name not in drawn_first or name not in drawn_second:
            continue
        pair = interval(drawn_second[name] - drawn_first[name])
        found[name] = Difference(one, two, two - one, pair)
    return found


def _plain(found: Mapping[str, Difference]) -> dict[str, Any]:
    return {k: {**asdict(one), "interval": list(one.interval)} for k, one in found.items()}
