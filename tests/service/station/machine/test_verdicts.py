import itertools

import pytest

from service.station.machine.verdicts import (
    NO_SCORE,
    WORST_FIRST,
    Outcome,
    Reason,
    Verdict,
    worst,
)


def test_the_worst_view_decides():
    for first, second in itertools.combinations(WORST_FIRST, 2):
        assert worst([first, second]) is worst([second, first]) is first


@pytest.mark.parametrize("verdicts", [[], [Verdict.NONE], [Verdict.OK, Verdict.NONE]])
def test_a_view_without_a_verdict_never_makes_a_part_ok(verdicts):
    assert worst(verdicts) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [(Verdict.OK, Reason.DEADLINE), (Verdict.UNDECIDED, Reason.NONE), (Verdict.NONE, Reason.NONE)],
)
def test_an_outcome_is_a_decision_or_has_a_reason(verdict, reason):
    with pytest.raises(ValueError, match="expected a decision"):
        Outcome(verdict, reason)


@pytest.mark.parametrize(
    ("score", "register"), [(None, NO_SCORE), (0.0, 0), (0.5, 5_000), (1.0, 10_000), (7.0, 10_000)]
)
def test_a_score_becomes_a_register(score, register):
    assert Outcome(Verdict.NG, score=score).score_register == register
