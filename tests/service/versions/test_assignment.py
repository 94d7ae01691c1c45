"""Which requests a canary gets."""

import pytest
from pydantic import ValidationError

from model.checkpoints.key import CheckpointKey
from service.versions.assignment import Assignment, Canary, Role

ONE, TWO, THREE = (CheckpointKey("parts", str(n)) for n in (1, 2, 3))
KEYS = [f"part-{number}" for number in range(4000)]


def chosen(share, checkpoint=TWO, category="bolt"):
    canary = Canary(checkpoint=checkpoint, share=share)
    return {key for key in KEYS if canary.answers(category, key)}


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_the_share_is_about_the_one_asked_for(share):
    assert len(chosen(share)) / len(KEYS) == pytest.approx(share, abs=0.03)


def test_the_same_part_always_gets_the_same_version():
    assert chosen(0.2) == chosen(0.2)


def test_a_larger_share_keeps_the_parts_of_the_smaller():
    assert chosen(0.05) < chosen(0.2) < chosen(0.6)


def test_another_roll_out_or_category_draws_other_parts():
    assert chosen(0.2) != chosen(0.2, THREE)
    assert chosen(0.2) != chosen(0.2, category="nut")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_none_or_all_is_no_share(share):
    with pytest.raises(ValidationError):
        Canary(checkpoint=TWO, share=share)


def test_an_assignment_tells_who_does_what():
    assignment = Assignment(stable=ONE, canary=Canary(checkpoint=TWO, share=0.1), shadow=THREE)
    assert list(assignment.roles()) == [
        (Role.STABLE, ONE), (Role.CANARY, TWO), (Role.SHADOW, THREE)
    ]  # fmt: skip
    assert list(Assignment(stable=ONE).roles()) == [(Role.STABLE, ONE)]
