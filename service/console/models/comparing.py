"""How a canary's decisions compare with the stable version's, from the newest parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from model.calibration.conformal import rate_interval
from model.checkpoints.key import CheckpointKey
from model.inspection import Category, Decision
from service.archive.tables import inspections
from service.inspection.submission import Origin

MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of parts, its share, and the share's interval of 95 %."""

    parts: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions of one version; `undecided` parts are not among the `parts`."""

    checkpoint: CheckpointKey
    parts: int
    ng: Rate | None
    review: Rate | None
    undecided: int


@dataclass(frozen=True, slots=True)
class CanaryComparison:
    """The stable version's decisions and the canary's.

    `since` is the time of the oldest part; `is_bounded` says that older ones were left out.
    """

    stable: Decided
    canary: Decided
    since: datetime | None
    is_bounded: bool

    @property
    def canary_share(self) -> float | None:
        """The share of the parts that the canary answered; None without parts."""
        stable, canary = (one.parts + one.undecided for one in (self.stable, self.canary))
        return canary / (stable + canary) if stable + canary else None


def compare(
    connection: Connection,
    category: Category,
    versions: tuple[CheckpointKey, CheckpointKey],
    since: datetime,
) -> CanaryComparison:
    """Compare the stable and the canary version on at most `MOST_PARTS` parts since a time.

    Reads a range of the index by category and time, the newest parts first. Only parts of the
    line count.
    """
    columns = inspections.c
    newest = (
        select(
            columns.received_at, columns.origin, columns.model_name, columns.model_version,
            columns.found,
        )
        .where(columns.category == category, columns.received_at >= since)
        .order_by(columns.received_at.desc(), columns.inspection_id.desc())
        .limit(MOST_PARTS)
        .subquery()
    )  # fmt: skip
    keys = (newest.c.origin, newest.c.model_name, newest.c.model_version, newest.c.found)
    query = select(*keys, func.count(), func.min(newest.c.received_at)).group_by(*keys)
    rows = connection.execute(query).all()
    counted = [row for row in rows if row[0] == Origin.LINE.value]
    stable, canary = (_decided(key, counted) for key in versions)
    return CanaryComparison(
        stable,
        canary,
        min((row[5] for row in rows), default=None),
        is_bounded=sum(row[4] for row in rows) >= MOST_PARTS,
    )


def _decided(key: CheckpointKey, rows: Sequence[tuple[object, ...]]) -> Decided:
    counts: dict[object, int] = {}
    for _, name, version, found, parts, _ in rows:
        if (name, version) == (key.name, key.version):
            assert isinstance(parts, int)
            counts[found] = counts.get(found, 0) + parts
    undecided = counts.pop(None, 0) + counts.pop(Decision.UNDECIDED.value, 0)
    total = sum(counts.values())
    ng, review = (_rate(counts.get(one, 0), total) for one in (Decision.NG, Decision.REVIEW))
    return Decided(key, total, ng, review, undecided)


def _rate(count: int, total: int) -> Rate | None:
    return Rate(count, count / total, *rate_interval(count, total)) if total else None
