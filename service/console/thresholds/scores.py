"""The scored parts that the page counts: the newest of a category in a period, of one version.

    wanted = Wanted("bolt", CheckpointKey("parts", "4"), since, until, review_share=0.01)
    parts = read_parts(connection, wanted)

One range of the index by category and time is read, and never more than `NEWEST` parts, so that a
million inspections cost no more than `NEWEST`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, Select, and_, case, select

from model.checkpoints.key import CheckpointKey
from model.inspection import Category, Decision
from service.archive.records import Verdict
from service.archive.searching.sampling import is_sampled
from service.archive.tables import inspections
from service.inspection.submission import Origin

NEWEST = 20_000
"""Parts that are read at most."""

TOLD = (Decision.OK, Decision.REVIEW, Decision.NG, Decision.UNDECIDED)
VERDICTS = (None, Verdict.GOOD, Verdict.DEFECTIVE, Verdict.UNSURE)

_TOLD_PLACES = {decision.value: place for place, decision in enumerate(TOLD)}
_VERDICT_PLACES = {
    None if verdict is None else verdict.value: place for place, verdict in enumerate(VERDICTS)
}

Places: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parts of a category in a period, from `since` to before `until`, and the version.

    `review_share` is the share of the OK parts that people are asked to judge.
    """

    category: Category
    key: CheckpointKey
    since: datetime
    until: datetime
    review_share: float


@dataclass(frozen=True, slots=True)
class ScoredParts:
    """Parts that the network of one version decided, by ascending raw score.

    `told` has places in `TOLD`, `verdicts` places in `VERDICTS`. `is_sampled` is false for OK parts
    that people judged though they are not in the random sample. Of `read` parts, `of_others` were
    inspected by other versions, and `undecided` have no decision of the network. `oldest` is when
    the oldest part that was read was received, if the period has more parts.
    """

    raw: npt.NDArray[np.float64]
    told: Places
    verdicts: Places
    is_sampled: npt.NDArray[np.bool_]
    read: int
    of_others: int
    undecided: int
    oldest: datetime | None

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.raw)

    @property
    def is_judged(self) -> npt.NDArray[np.bool_]:
        """Which parts have a verdict that counts: good or defective, and not outside the sample."""
        good_or_bad = (self.verdicts == 1) | (self.verdicts == 2)
        return good_or_bad & self.is_sampled


def read_parts(connection: Connection, wanted: Wanted, newest: int = NEWEST) -> ScoredParts:
    """Read the newest parts of a category in a period, and keep those of the version."""
    rows = connection.execute(_query(wanted, newest + 1)).all()
    oldest = rows[newest - 1].received_at if len(rows) > newest else None
    rows = rows[:newest]
    of_version = [row for row in rows if row.is_of_version]
    decided = [row for row in of_version if row.found is not None and row.raw_score is not None]
    raw = np.array([row.raw_score for row in decided], np.float64)
    order = np.argsort(raw, kind="stable")
    return ScoredParts(
        raw[order],
        _places(decided, "told", _TOLD_PLACES)[order],
        _places(decided, "verdict", _VERDICT_PLACES)[order],
        np.array([_in_sample(row.judged_ok, wanted.review_share) for row in decided], bool)[order],
        read=len(rows),
        of_others=len(rows) - len(of_version),
        undecided=len(of_version) - len(decided),
        oldest=oldest,
    )


def _query(wanted: Wanted, limit: int) -> Select[Any]:
    columns = inspections.c
    is_judged_ok = and_(columns.told == Decision.OK.value, columns.verdict.is_not(None))
    of_version = and_(
        columns.model_name == wanted.key.name, columns.model_version == wanted.key.version
    )
    return (
        select(
            columns.received_at,
            columns.raw_score,
            columns.told,
            columns.found,
            columns.verdict,
            case((of_version, True), else_=False).label("is_of_version"),
            # Ids of judged OK parts alone: making a UUID of each row takes longer than reading it.
            case((is_judged_ok, columns.inspection_id)).label("judged_ok"),
        )
        .where(
            columns.category == wanted.category,
            columns.received_at >= wanted.since,
            columns.received_at < wanted.until,
            columns.origin != Origin.TEST.value,
        )
        .order_by(columns.received_at.desc(), columns.inspection_id.desc())
        .limit(limit)
    )


def _places(rows: Sequence[Row[Any]], column: str, places: dict[Any, int]) -> Places:
    return np.array([places[getattr(row, column)] for row in rows], np.int8)


def _in_sample(judged_ok: UUID | None, share: float) -> bool:
    return judged_ok is None or is_sampled(judged_ok, share)
