"""Stored configurations have values of their fields' types, and bounded numbers."""

from dataclasses import dataclass

import pytest

from model.errors import ConfigError
from model.stored import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Stored):
    name: str
    count: int = 0
    share: float = 0.0
    on: bool = False
    size: tuple[int, int] = (1, 1)
    rate: float | None = None


def test_json_and_back():
    part = Part(name="a", count=3, share=1, on=True, size=(2, 3), rate=0.5)
    assert Part.from_dict({**part.to_dict(), "size": [2, 3]}) == part
    assert Part.from_dict({"name": "a", "rate": None}) == Part(name="a")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "Part must be an object"),
        ({}, "Part needs name"),
        ({"name": "a", "shape": 1}, "Part has no shape"),
        ({"name": 1}, "Part.name must be str, got 1"),
        ({"name": "a", "count": 1.0}, "Part.count must be int, got 1.0"),
        ({"name": "a", "count": True}, "Part.count must be int, got True"),
        ({"name": "a", "count": 2**63}, "Part.count must be int"),
        ({"name": "a", "share": "1"}, "Part.share must be float"),
        ({"name": "a", "share": float("nan")}, "Part.share must be float, got nan"),
        ({"name": "a", "share": float("inf")}, "Part.share must be float, got inf"),
        ({"name": "a", "share": 1e31}, "Part.share must be float"),
        ({"name": "a", "share": 10**400}, "Part.share must be float"),
        ({"name": "a", "on": 1}, "Part.on must be bool"),
        ({"name": "a", "size": [1, 2, 3]}, "Part.size must be int, int"),
        ({"name": "a", "size": [1, "2"]}, "Part.size must be int, int"),
        ({"name": "a", "size": 5}, "Part.size must be int, int"),
        ({"name": "a", "size": [[1], 2]}, "Part.size must be int, int"),
        ({"name": "a", "rate": "x"}, "Part.rate must be float | None"),
    ],
)
def test_a_value_of_another_type_is_refused(values, message):
    with pytest.raises(ConfigError) as error:
        Part.from_dict(values)
    assert message in str(error.value)
    assert len(str(error.value)) < 300
