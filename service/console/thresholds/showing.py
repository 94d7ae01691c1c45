"""The page itself: what is in force, who changed it, and a place for the chart."""

from dataclasses import dataclass
from typing import Any

from fastapi import Response

from model.calibration.calibration import Calibration
from service.api.service import Service
from service.console.thresholds.choices import Choice, Done, PeriodName
from service.console.thresholds.promises import promises_of
from service.console.thresholds.scores import NEWEST
from service.console.visits import Visit
from service.errors import Conflict
from service.problem_types import PROBLEM_TYPES
from service.versions.state import AuditRecord
from service.versions.thresholds import Threshold

_HISTORY = 50


@dataclass(frozen=True, slots=True)
class Shown:
    """The thresholds of a version; `set_by` is None while the calibrated ones are in force."""

    in_force: dict[str, Any]
    calibrated: dict[str, Any]
    set_by: Threshold | None
    calibration: Calibration
    changes: list[AuditRecord]


def show(
    visit: Visit,
    service: Service,
    choice: Choice,
    *,
    done: Done | None = None,
    has_conflict: bool = False,
) -> Response:
    """Return the page; with a conflict, it says that nothing was changed."""
    rollout, category, key = service.rollout, choice.category, choice.key
    shown = Shown(
        rollout.threshold(category, key),
        rollout.calibrated(category, key),
        rollout.override(category, key),
        service.registry.calibration(category, key),
        [one for one in rollout.history(category) if one.model == str(key)][:_HISTORY],
    )
    return visit.page(
        "thresholds.html",
        PROBLEM_TYPES[Conflict].status if has_conflict else 200,
        choice=choice,
        shown=shown,
        promises=promises_of(shown.calibration),
        periods=[period.value for period in PeriodName],
        newest=NEWEST,
        done=done and done.value,
        has_conflict=has_conflict,
    )
