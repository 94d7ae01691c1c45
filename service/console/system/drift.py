"""Drift by category: the latest scores beside the calibration's, and the NG share by hour."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, func, select

from model.calibration.calibration import QUANTILES
from model.inspection import Decision
from service.api.inspections.door import find_door
from service.api.service import ServiceDependency
from service.archive.store import hour_of
from service.archive.tables import rollups
from service.console.visits import CHANGING, VisitDependency
from service.http.declaration import declares
from service.inspection.drift import MIN_PARTS, DriftState

router = APIRouter()

_LEVELS = (0.05, 0.5, 0.95)
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Spread:
    """Scores from 0 to 1, with 0.5 at the threshold: three quantiles."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class DriftView:
    """A category by one checkpoint; `reference` is None if the calibration has no quantiles."""

    state: DriftState
    mean: float
    latest: Spread
    reference: Spread | None

    @classmethod
    def of(cls, state: DriftState) -> "DriftView":
        """Return the view of a state."""
        score, good = state.calibration.score, state.calibration.good_quantiles
        latest = np.quantile(state.scores, _LEVELS)
        reference = None if good is None else np.interp(_LEVELS, QUANTILES, good)
        return cls(
            state,
            float(np.mean([score(raw) for raw in state.scores])),
            Spread(*(score(float(raw)) for raw in latest)),
            None if reference is None else Spread(*(score(float(raw)) for raw in reference)),
        )


@dataclass(frozen=True, slots=True)
class Hour:
    """The decided parts of an hour, and how many of them were NG."""

    at: datetime
    parts: int
    rejects: int

    @property
    def share(self) -> float:
        """The NG share; 0 without parts."""
        return self.rejects / self.parts if self.parts else 0.0


@router.get("/console/system/drift")
@declares(is_page=True, scope=CHANGING)
async def page(request: Request, visit: VisitDependency, service: ServiceDependency) -> Response:
    """Show the drift of every category that was inspected since the start, and its last day."""
    states = service.drift.states()
    categories = {route.category for route in service.registry.routes}
    categories |= {state.category for state in states}
    door = find_door(request)
    query = partial(hours_of, categories=categories, now=datetime.now(UTC))
    hours = await door.archive.read(query) if door else {}
    return visit.page(
        "system_drift.html",
        section="drift",
        states={
            category: [DriftView.of(state) for state in states if state.category == category]
            for category in sorted(categories)
        },
        hours=hours,
        min_parts=MIN_PARTS,
    )


def hours_of(
    connection: Connection, categories: Collection[str], now: datetime
) -> Mapping[str, Sequence[Hour]]:
    """Return the last hours of each category that had parts, from the roll-ups."""
    first = hour_of(now) - timedelta(hours=_HOURS - 1)
    columns = rollups.c
    query = (
        select(columns.category, columns.hour, columns.told, func.sum(columns.parts))
        .where(columns.category.in_(categories), columns.hour >= first)
        .group_by(columns.category, columns.hour, columns.told)
    )
    counts: dict[str, dict[datetime, Counter[str]]] = {}
    for category, hour, told, parts in connection.execute(query):
        counts.setdefault(category, {}).setdefault(hour, Counter())[told] += int(parts)
    hours = [first + timedelta(hours=n) for n in range(_HOURS)]
    return {
        category: [_hour(at, by_hour.get(at, Counter())) for at in hours]
        for category, by_hour in counts.items()
    }


def _hour(at: datetime, told: Counter[str]) -> Hour:
    decided = told.total() - told[Decision.UNDECIDED.value]
    return Hour(at, decided, told[Decision.NG.value])
