"""What a person signs for beside the metrics: rates, their costs, and accept criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from model.criteria import Criterion
from model.evaluation.acceptance import Judgement, judge
from model.evaluation.counts import DEFECTS, FEW, SizeBin, Tally, by_size, tallies
from model.evaluation.identity import DataIdentity, Digests, identify, identify_categories
from model.evaluation.operation import Operation, Prices, operate
from model.evaluation.results import Evaluation, ImageRecord, Interval, percent
from model.inspection import Category
from model.metrics.resampling import RESAMPLINGS
from model.tables import NamedRows

PASS, FAIL = "PASS", "FAIL"


@dataclass(frozen=True, slots=True)
class CategoryRates:
    """One category's decisions by kind and by size of defect, and its trade-off if it has one."""

    tallies: Sequence[Tally]
    sizes: Sequence[SizeBin]
    operation: Operation | None

    @property
    def has_sizes(self) -> bool:
        """Whether any defect has a mask."""
        return any(size.images for size in self.sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "kinds": [tally.to_dict() for tally in self.tallies],
            "sizes": [size.to_dict() for size in self.sizes] if self.has_sizes else None,
            "operation": None if self.operation is None else self.operation.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Assessment:
    """The rates of every category, the judgement of every criterion, and the data's identity.

    `category_data` are the identities of each category's test images.
    """

    rates: Mapping[Category, CategoryRates]
    judgements: Sequence[Judgement]
    data: DataIdentity
    category_data: Mapping[Category, DataIdentity]

    @property
    def verdict(self) -> str | None:
        """PASS if every criterion is met, else FAIL; None without criteria."""
        if not self.judgements:
            return None
        return PASS if all(judgement.is_accepted for judgement in self.judgements) else FAIL

    @property
    def few(self) -> list[str]:
        """The images of which there are fewer than `FEW`: good, defective, kinds of defect."""
        texts = []
        for category, rates in self.rates.items():
            few = [tally for tally in rates.tallies if tally.is_few]
            sums = [tally for tally in few if tally.is_good or tally.kind == DEFECTS]
            texts += [f"{category}: {tally.images} {tally.kind}" for tally in sums]
            kinds = [tally for tally in few if tally not in sums]
            if len(kinds) > 1:
                texts.append(f"{category}: {len(kinds)} kinds of defect")
            texts += [f"{category}: {t.images} {t.kind}" for t in kinds if len(kinds) == 1]
        return texts

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "acceptance": self.acceptance(),
            "rates": {category: rates.to_dict() for category, rates in self.rates.items()},
            "test_data": self.data.to_dict(),
        }

    def acceptance(self) -> dict[str, Any]:
        """Return verdict and judgements as JSON values."""
        return {"verdict": self.verdict, "criteria": [j.to_dict() for j in self.judgements]}

    def table(self) -> NamedRows | None:
        """Return the false rejects for limits of escapes, in percent; None without a trade-off."""
        operations = {c: r.operation for c, r in self.rates.items() if r.operation is not None}
        if not operations:
            return None
        first = next(iter(operations.values()))
        limits = [f"{100 * price.limit:g} %\nescapes" for price in first.escape_prices]
        title = "False rejects that at most so many escapes would cost, in percent"
        table = NamedRows(title, "\nCategory", limits)
        for category, operation in operations.items():
            prices = operation.escape_prices
            table.add(category, [f"{percent(p.rate)} ({_ends(p.interval)})" for p in prices])
        return table

    def lines(self) -> list[Text]:
        """Return a note on figures from few images, each judgement, and the verdict."""
        lines = []
        if self.few:
            few = "; ".join(self.few)
            lines.append(Text(f"Figures on fewer than {FEW} images have wide intervals: {few}"))
        for judgement in self.judgements:
            lines.append(Text(judgement.text(), "" if judgement.is_accepted else "bold red"))
        if self.verdict is not None:
            failed = sum(not judgement.is_accepted for judgement in self.judgements)
            kept = f"{len(self.judgements) - failed} of {len(self.judgements)} criteria are met"
            lines.append(Text(f"{self.verdict}: {kept}", "bold" if not failed else "bold red"))
        return lines


def assess(
    evaluation: Evaluation,
    data: Path,
    prices: Prices | None = None,
    criteria: Sequence[Criterion] = (),
    resamplings: int = RESAMPLINGS,
) -> Assessment:
    """Assess an evaluation of images in the folder `data`, which are read for their digest."""
    rates = {
        category: _rates(
            [record for record in evaluation.records if record.sample.category == category],
            prices or Prices(),
            resamplings,
        )
        for category in evaluation.categories
    }
    samples = [record.sample for record in evaluation.records]
    digests: Digests = {}
    return Assessment(
        rates=rates,
        judgements=judge(criteria, evaluation),
        data=identify(samples, data, digests),
        category_data=identify_categories(samples, data, digests),
    )


def _rates(records: Sequence[ImageRecord], prices: Prices, resamplings: int) -> CategoryRates:
    operation = operate(records, prices, resamplings)
    return CategoryRates(tallies(records), by_size(records), operation)


def _ends(pair: Interval) -> str:
    return f"{percent(pair[0])} to {percent(pair[1])}"
