"""Two checkpoints on the same images: what differs, how surely, and which parts it decides about.

Both were resampled by the same draws of the same images (`seed_of`), so that a difference is taken
draw by draw: what is hard about some images is hard for both, and falls out of the interval.
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
"""The longest name that heads a column."""


_LEAST_WRONG_FIRST = (Decision.OK, Decision.REVIEW, Decision.NG)
"""The decisions on a good part; on a defective one, the other way round."""


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
    def is_better(self) -> bool:
        """Whether the second comes nearer to what is right: OK for good parts, NG for defects.

        REVIEW lies between: a good part that goes from REVIEW to NG is worse off, and so is a line
        whose defect goes from REVIEW to OK.
        """
        steps = _LEAST_WRONG_FIRST if self.sample.is_good else _LEAST_WRONG_FIRST[::-1]
        return steps.index(self.second.decision) < steps.index(self.first.decision)


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

    def table(self, names: tuple[str, str]) -> Group:
        """Return a table in percent: for each category, a row for each metric.

        Names too long to head a column are spelled out above it, as A and B.
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
        for number, (category, found) in enumerate(parts.items()):
            table.add(category, style="underline", section=number > 0)
            for name, one in found.items():
                low, high = (f"{100 * end:+.1f}" for end in one.interval)
                cells = [percent(one.first), percent(one.second), f"{100 * one.difference:+.1f}"]
                table.add(name, [*cells, f"{low} to {high}"], "bold" if one.is_sure else "")
        return Group(*above, table)


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
    changes.sort(key=lambda change: (change.is_better, str(change.sample.path)))
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
