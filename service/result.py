"""What came out of an inspection."""

from collections.abc import Iterable

from model.inspection import Decision

_GRAVEST_FIRST = (Decision.NG, Decision.UNDECIDED, Decision.REVIEW, Decision.OK)


def combined(decisions: Iterable[Decision]) -> Decision:
    """Return the one decision that stands for several images: OK only where every one is.

    NG goes before UNDECIDED: a part that is NG in one view is so whatever another would show.
    UNDECIDED where there are none.
    """
    found = set(decisions)
    return next((decision for decision in _GRAVEST_FIRST if decision in found), Decision.UNDECIDED)
