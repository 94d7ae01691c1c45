"""Accept criteria: limits that an evaluation must keep, in every category.

    judge([parse("escapes[crack] <= 5% at 95%")], evaluation)

A criterion limits the figure itself or, with "at 95%", the end of its interval at that level. A
figure that the data does not give is never accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.criteria import FALSE_REJECTS, MOST, RANKS, RATES, Criterion, percent_text
from model.evaluation.counts import FEW, Tally, tallies
from model.evaluation.results import Evaluation
from model.inspection import Category
from model.metrics import wilson
from model.metrics.resampling import interval


@dataclass(frozen=True, slots=True)
class Judgement:
    """A criterion in one category.

    `bound` is the end of the interval that the criterion is about; `missing` says why there is no
    figure, which is then not accepted. `images` is the number that the figure stands on.
    """

    criterion: Criterion
    category: Category
    value: float | None = None
    bound: float | None = None
    images: int = 0
    missing: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the figure, or its interval's end, keeps the limit."""
        compared = self.value if self.criterion.level is None else self.bound
        if compared is None:
            return False
        limit = self.criterion.limit
        return compared <= limit if self.criterion.sign == MOST else compared >= limit

    @property
    def is_few(self) -> bool:
        """Whether the figure stands on fewer than `FEW` images."""
        return self.missing is None and self.images < FEW

    @property
    def verdict(self) -> str:
        """PASS or FAIL."""
        return "PASS" if self.is_accepted else "FAIL"

    def text(self) -> str:
        """Return the judgement as one line."""
        begin = f"{self.verdict}  {self.category}: {self.criterion.text}"
        if self.value is None:
            return f"{begin} - {self.missing}"
        bound = "" if self.bound is None else f", bound {percent_text(self.bound)}"
        few = f"; fewer than {FEW}" if self.is_few else ""
        return f"{begin} - {percent_text(self.value)}{bound} on {self.images} images{few}"

    def to_dict(self) -> dict[str, Any]:
        """Return the judgement as JSON values."""
        return {
            "criterion": self.criterion.text,
            "category": self.category,
            "value": self.value,
            "bound": self.bound,
            "images": self.images,
            "missing": self.missing,
            "accepted": self.is_accepted,
        }


def judge(criteria: Sequence[Criterion], evaluation: Evaluation) -> list[Judgement]:
    """Judge every criterion in every category; one by kind in categories that have the kind."""
    judgements = []
    for category in evaluation.categories:
        records = [r for r in evaluation.records if r.sample.category == category]
        rows = tallies(records)
        for criterion in criteria:
            if criterion.kind is None or criterion.kind in {row.kind for row in rows}:
                judgements.append(_judge(criterion, category, evaluation, rows))
    return judgements


def _judge(
    criterion: Criterion, category: Category, evaluation: Evaluation, rows: Sequence[Tally]
) -> Judgement:
    if criterion.figure in RATES:
        about_good = criterion.figure == FALSE_REJECTS
        chosen = [
            row for row in rows if row.is_good == about_good and criterion.kind in (None, row.kind)
        ]
        return _judge_rate(criterion, category, chosen)
    name = RANKS[criterion.figure]
    metrics = evaluation.categories[category]
    value = getattr(metrics, name)
    if value is None:
        lacks = "no defects with a mask" if metrics.good and metrics.defective else "one kind only"
        return Judgement(criterion, category, missing=f"cannot be measured: {lacks}")
    images = metrics.masked if name == "aupro" else min(metrics.good, metrics.defective)
    bound = None
    if criterion.level is not None:
        # Two-sided, as in the table of results: its lower end.
        bound = interval(evaluation.replicates[category][name], criterion.level)[0]
    return Judgement(criterion, category, value, bound, images)


def _judge_rate(criterion: Criterion, category: Category, chosen: Sequence[Tally]) -> Judgement:
    # Rows of kinds and the sum of all kinds: the largest row is the sum.
    row = max(chosen, key=lambda row: row.images, default=None)
    if row is None:
        kind = "good" if criterion.figure == FALSE_REJECTS else "defective"
        return Judgement(criterion, category, missing=f"cannot be measured: no {kind} test images")
    bound = None
    if criterion.level is not None:
        bound = wilson(row.wrong, row.images, criterion.level)[1]
    return Judgement(criterion, category, row.rate, bound, row.images)
