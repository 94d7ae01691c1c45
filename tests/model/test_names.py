import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.inspection import NAME_PATTERN
from model.names import safe_name, safe_names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("bolt", "bolt"),
        ("solar-mono_2.1", "solar-mono_2.1"),
        ("Zelle grün", "Zelle-gruen"),
        ("Gehäuse (links) #2", "Gehaeuse-links-2"),
        ("Größe ß", "Groesse-ss"),
        ("pièce é", "piece-e"),
        (".hidden", "hidden"),
        ("gru\u0308n", "gruen"),
    ],
)
def test_a_name_stays_readable(name, safe):
    assert safe_name(name) == safe


def test_names_that_lose_letters_stay_apart():
    safe_ones = [
        safe_name(name) for name in ("电池", "电池 A", "电阻 A", "батарея", "\udcff\udcfe", "-")
    ]
    assert len(set(safe_ones)) == len(safe_ones)
    assert safe_ones[1].startswith("A-")
    assert safe_names(["a b", "a-b", "a  b"])["a-b"] == "a-b"


@given(st.lists(st.text(min_size=1, max_size=120), unique=True, max_size=6))
def test_every_name_becomes_a_different_safe_one(names):
    safe_ones = safe_names(names)
    assert list(safe_ones) == names
    assert all(re.fullmatch(NAME_PATTERN[1:-1], safe) for safe in safe_ones.values())
    assert len(set(safe_ones.values())) == len(names)
    assert all(safe_name(safe) == safe for safe in safe_ones.values())
