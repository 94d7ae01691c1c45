"""Count decisions by kind of part, and found defects by their size.

A defect counts as found if its part is NG or REVIEW: not passed as OK.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from model.evaluation.results import ImageRecord, Interval
from model.inspection import Decision
from model.metrics import wilson

FEW = 30
"""A figure on fewer images than this is marked: its interval is too wide to rely on."""

DEFECTS = "all defects"
GOOD = "good"
AREAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Edges of the bins of sizes, as shares of the image; a defect on an edge is in the upper bin."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The decisions on one kind of part."""

    kind: str
    is_good: bool
    ok: int
    review: int
    ng: int

    @property
    def images(self) -> int:
        """The number of images of this kind."""
        return self.ok + self.review + self.ng

    @property
    def wrong(self) -> int:
        """Good parts decided NG, or defective ones decided OK."""
        return self.ng if self.is_good else self.ok

    @property
    def rate(self) -> float:
        """The share of wrong decisions."""
        return self.wrong / self.images

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the rate."""
        return wilson(self.wrong, self.images)

    @property
    def is_few(self) -> bool:
        """Whether the figure stands on fewer than `FEW` images."""
        return self.images < FEW

    def to_dict(self) -> dict[str, Any]:
        """Return counts, rate and interval as JSON values."""
        return {
            "kind": self.kind,
            "images": self.images,
            "ok": self.ok,
            "review": self.review,
            "ng": self.ng,
            "rate": self.rate,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True)
class SizeBin:
    """The defects whose mask covers `low` to below `high` of the image."""

    low: float
    high: float
    images: int
    found: int

    @property
    def rate(self) -> float | None:
        """The share of found defects; None for an empty bin."""
        return self.found / self.images if self.images else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval of the rate."""
        return wilson(self.found, self.images) if self.images else None

    @property
    def is_few(self) -> bool:
        """Whether the figure stands on fewer than `FEW` images."""
        return self.images < FEW

    def to_dict(self) -> dict[str, Any]:
        """Return edges, counts, rate and interval as JSON values."""
        pair = None if self.interval is None else list(self.interval)
        counts = {"images": self.images, "found": self.found}
        return {"low": self.low, "high": self.high, **counts, "rate": self.rate, "interval": pair}


def tallies(records: Sequence[ImageRecord]) -> list[Tally]:
    """Count good parts, each kind of defect by name, and all defects if they have several kinds."""
    good = [record for record in records if record.sample.is_good]
    defective = [record for record in records if not record.sample.is_good]
    kinds = sorted({record.sample.defect for record in defective})
    rows = [_tally(GOOD, good)]
    rows += [_tally(kind, [r for r in defective if r.sample.defect == kind]) for kind in kinds]
    if len(kinds) > 1:
        rows.append(_tally(DEFECTS, defective))
    return [row for row in rows if row.images]


def _tally(kind: str, records: Sequence[ImageRecord]) -> Tally:
    decisions = [record.decision for record in records]
    counts = [decisions.count(d) for d in (Decision.OK, Decision.REVIEW, Decision.NG)]
    return Tally(kind, kind == GOOD, *counts)


def by_size(records: Iterable[ImageRecord]) -> list[SizeBin]:
    """Count the found defects by the marked share of the image, for defects with a mask."""
    marked = [record for record in records if not record.sample.is_good and record.area is not None]
    bins = []
    for low, high in pairwise(AREAS):
        inside = [r for r in marked if low <= (r.area or 0.0) < high or r.area == high == 1.0]
        found = sum(not record.is_escape for record in inside)
        bins.append(SizeBin(low, high, len(inside), found))
    return bins
