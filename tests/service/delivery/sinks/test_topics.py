"""Topics: every value is one level, whatever it contains, and two values are two levels."""

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.sinks.topics import fill, level

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(TEXTS)
def test_a_value_is_one_level_that_a_broker_takes(value):
    made = level(value)
    assert made
    assert not set("+#/\0") & set(made)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or ord(c) & 0xFFFE == 0xFFFE for c in made)


@given(TEXTS, TEXTS)
def test_two_values_are_two_levels(one, other):
    assert one == other or level(one) != level(other)


def test_a_template_keeps_its_own_levels():
    values = {"site": "Plant 2", "station": None, "category": "a/b"}
    topic = "mambaad/{site}/{station}/{category}/result"
    assert fill(topic, values) == "mambaad/Plant 2/-/a%2Fb/result"
    assert fill("{site}/x", {"site": "{station}"}) == "{station}/x"
    assert fill("{site}", {"site": "$SYS"}) == "%24SYS"
