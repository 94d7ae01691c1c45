"""The cluster benchmark's arithmetic, without starting a cluster."""

import pytest

from benchmarks.cluster import NodeLoss, loss_of
from benchmarks.loading import CannotMeasure

KILLED_AT = 100.0
BEFORE = (98.0, 99.0, True)
ON_THE_WAY = (99.5, 107.0, True)
LOST = (99.6, 101.0, False)
NEXT = (100.5, 100.75, True)
LATER = (110.0, 110.5, True)


def test_the_next_answer_is_of_a_part_that_was_posted_after_the_kill():
    loss = loss_of([BEFORE, ON_THE_WAY, LOST, LATER, NEXT], KILLED_AT)
    assert loss == NodeLoss(next_answer_s=0.75, slowest_answer_s=7.5, answered=3, undecided=1)


def test_without_an_answer_afterwards_nothing_is_measured():
    with pytest.raises(CannotMeasure, match="no part was decided"):
        loss_of([BEFORE, ON_THE_WAY, LOST], KILLED_AT)
