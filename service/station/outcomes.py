"""The service's answers as outcomes, and outcomes as the archive keeps them."""

from collections.abc import Sequence

from service.client import (
    DeadlineExceeded,
    Decision,
    ImageRefused,
    InspectionError,
    InspectionFailed,
    InvalidRequest,
    NotAllowed,
    Problem,
    Result,
    UnknownCategory,
)
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict, worst

_REASONS: tuple[tuple[type[InspectionError], Verdict, Reason], ...] = (
    (DeadlineExceeded, Verdict.UNDECIDED, Reason.DEADLINE),
    (ImageRefused, Verdict.INPUT_PROBLEM, Reason.IMAGE_UNREADABLE),
    (NotAllowed, Verdict.UNDECIDED, Reason.SERVICE_REFUSED),
    (InvalidRequest, Verdict.UNDECIDED, Reason.SERVICE_REFUSED),
    (UnknownCategory, Verdict.UNDECIDED, Reason.SERVICE_REFUSED),
    (InspectionFailed, Verdict.UNDECIDED, Reason.INSPECTION_FAILED),
)
_VERDICTS = {
    Decision.OK: Verdict.OK,
    Decision.NG: Verdict.NG,
    Decision.REVIEW: Verdict.REVIEW,
}
_FAIL_SAFES = {"NG": FailSafe.NG, "REVIEW": FailSafe.REVIEW, "STOP": FailSafe.STOP}


def fail_safe_of(text: str | None) -> FailSafe:
    """Return a fail-safe by its word; NONE for any other text."""
    return _FAIL_SAFES.get(text or "", FailSafe.NONE)


def outcome_of_error(error: InspectionError) -> Outcome:
    """Return the outcome of a view that was not inspected; an unknown error is a service away."""
    fail_safe = fail_safe_of(error.fail_safe) if isinstance(error, Problem) else FailSafe.NONE
    for kind, verdict, reason in _REASONS:
        if isinstance(error, kind):
            return Outcome(verdict, reason, fail_safe)
    return Outcome(Verdict.UNDECIDED, Reason.SERVICE_AWAY, fail_safe)


def outcome_of_result(result: Result) -> Outcome:
    """Return the outcome of one view."""
    if result.decision in _VERDICTS:
        return Outcome(_VERDICTS[result.decision], score=result.score)
    fail_safe = fail_safe_of(result.fail_safe)
    if result.error is None:
        return Outcome(Verdict.UNDECIDED, Reason.INSPECTION_FAILED, fail_safe)
    found = outcome_of_error(result.error)
    return Outcome(found.verdict, found.reason, found.fail_safe or fail_safe)


def worst_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of a part: the worst verdict, its first reason, the highest score."""
    verdict = worst(outcome.verdict for outcome in outcomes)
    chosen = [outcome for outcome in outcomes if outcome.verdict is verdict]
    if not chosen:
        return Outcome(Verdict.UNDECIDED, Reason.INSPECTION_FAILED)
    scores = [outcome.score for outcome in outcomes if outcome.score is not None]
    fail_safe = max(outcome.fail_safe for outcome in chosen)  # STOP before REVIEW before NG
    return Outcome(verdict, chosen[0].reason, fail_safe, max(scores, default=None))


def told_of(outcome: Outcome) -> Decision:
    """Return what the archive calls `told`."""
    if not outcome.verdict.was_inspected:
        return Decision.UNDECIDED
    return Decision(outcome.verdict.name)


def told_reason_of(outcome: Outcome) -> str | None:
    """Return why the line was told so; None for a decision of the network.

    >>> told_reason_of(Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_BLACK))
    'input-problem: image-black'
    """
    if outcome.verdict.was_inspected:
        return None
    words = [outcome.reason.name]
    if outcome.verdict is Verdict.INPUT_PROBLEM:
        words.insert(0, outcome.verdict.name)
    return ": ".join(word.lower().replace("_", "-") for word in words)
