"""The scored parts that the page counts: the newest of a category in a period, of one version.

    wanted = Wanted("bolt", CheckpointKey("parts", "4"), since, until, review_share=0.01)
    parts = read_parts(connection, wanted)

One range of the index by category and time is read, and never more than `NEWEST` parts, so that a
million inspections cost no more than `NEWEST`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    select,
    type_coerce,
)

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
    def is_good_or_bad(self) -> npt.NDArray[np.bool_]:
        """Which parts were judged good or defective."""
        return np.asarray((self.verdicts == 1) | (self.verdicts == 2), bool)

    @property
    def is_judged(self) -> npt.NDArray[np.bool_]:
        """Which parts have a verdict that counts: good or defective, and not outside the sample."""
        return np.asarray(self.is_good_or_bad & self.is_sampled, bool)


def read_parts(connection: Connection, wanted: Wanted, newest: int = NEWEST) -> ScoredParts:
    """Read the newest parts of a category in a period, and keep those of the version."""
    rows = connection.execute(_query(wanted, newest + 1)).all()
    oldest = _moment(rows[newest - 1].received_us) if len(rows) > newest else None
    columns = list(zip(*rows[:newest], strict=True)) or [(), (), (), ()]
    raw = np.array(columns[1], np.float64)  # NaN where there is none
    codes = np.array(columns[2], np.int64)
    is_sampled = np.array([_in_sample(one, wanted.review_share) for one in columns[3]], bool)
    of_version = codes // _OF_VERSION % 2 == 1
    counted = of_version & (codes // _DECIDED % 2 == 1) & ~np.isnan(raw)
    order = np.flatnonzero(counted)[np.argsort(raw[counted], kind="stable")]
    return ScoredParts(
        raw[order],
        (codes % _PER_VERDICT)[order].astype(np.int8),
        (codes // _PER_VERDICT % _PER_VERDICT)[order].astype(np.int8),
        is_sampled[order],
        read=len(raw),
        of_others=int(np.count_nonzero(~of_version)),
        undecided=int(np.count_nonzero(of_version & ~counted)),
        oldest=oldest,
    )


# A row is told + 4 verdict + 16 (of the version) + 32 (decided) as one number: making Python's
# objects of texts, times and ids takes several times as long as reading the rows.
_PER_VERDICT, _OF_VERSION, _DECIDED = 4, 16, 32


def _query(wanted: Wanted, limit: int) -> Select[Any]:
    columns = inspections.c
    is_judged_ok = and_(columns.told == Decision.OK.value, columns.verdict.is_not(None))
    of_version = and_(
        columns.model_name == wanted.key.name, columns.model_version == wanted.key.version
    )
    code = (
        case(*_numbered(columns.told, TOLD), else_=0)
        + case(*_numbered(columns.verdict, VERDICTS, _PER_VERDICT), else_=0)
        + case((of_version, _OF_VERSION), else_=0)
        + case((columns.found.is_not(None), _DECIDED), else_=0)
    )
    return (
        select(
            type_coerce(columns.received_at, BigInteger).label("received_us"),
            columns.raw_score,
            code,
            case((is_judged_ok, columns.inspection_id)),
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


def _numbered(
    column: Column[Any], values: Sequence[StrEnum | None], factor: int = 1
) -> list[tuple[ColumnElement[bool], int]]:
    """Return the whens of a `case` that is each value's place, times a factor."""
    return [
        (column == value.value, place * factor)
        for place, value in enumerate(values)
        if value is not None
    ]


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _in_sample(judged_ok: UUID | None, share: float) -> bool:
    return judged_ok is None or is_sampled(judged_ok, share)
