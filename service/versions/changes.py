"""A change, as the audit writes it: its author, time, and values before and after."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model.calibration.calibration import Calibration
from model.inspection import Category
from service.versions.assignment import Assignment
from service.versions.state import Action, AuditRecord
from service.versions.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, why, with which API key and request id."""

    who: str
    reason: str
    caller: str
    request_id: str


def record_of(
    action: Action,
    category: Category | None,
    by: Author,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    model: str | None = None,
    subject: str | None = None,
) -> AuditRecord:
    """Return the audit record of a change that is made now."""
    return AuditRecord(
        at=datetime.now(UTC),
        who=by.who,
        reason=by.reason,
        caller=by.caller,
        action=action,
        category=category,
        subject=subject,
        model=model,
        request_id=by.request_id,
        before=before,
        after=after,
    )


def calibrated_values(calibration: Calibration) -> dict[str, Any]:
    """Return the thresholds of a calibration."""
    return {
        "threshold": calibration.image_threshold,
        "review_threshold": calibration.review_threshold,
    }


def plain(assignment: Assignment) -> dict[str, Any]:
    """Return an assignment as the audit writes it."""
    return assignment.model_dump(mode="json", exclude_none=True)


def values_of(threshold: Threshold) -> dict[str, Any]:
    """Return the thresholds that a person set."""
    return threshold.model_dump(include={"threshold", "review_threshold"})
