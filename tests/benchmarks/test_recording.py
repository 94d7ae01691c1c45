import numpy as np
import pytest

from benchmarks.recording import ONNX, PLAIN, RECORDED, Ways, timed


class Fake:
    """Answers one value everywhere, and notes that it was asked."""

    def __init__(self, name, asked, value=1.0):
        self.name, self.asked, self.value = name, asked, value

    def compare(self, images, lap):
        self.asked.append(self.name)
        return np.full((len(images), 4, 4), self.value, np.float32)


def ways(asked, **values):
    engines = {name: Fake(name, asked, values.get(name, 1.0)) for name in (RECORDED, PLAIN, ONNX)}
    return Ways(engines, {}, True, (4, 4))


def test_every_round_asks_each_way_once_in_an_order_that_turns():
    asked = []
    found = timed(ways(asked), 2, rounds=3)
    first, *rounds = (asked[i : i + 3] for i in range(0, len(asked), 3))
    assert set(first) == {RECORDED, PLAIN, ONNX}
    assert all(sorted(one) == sorted(first) for one in rounds)
    assert [one[0] for one in rounds] == [RECORDED, PLAIN, ONNX]
    assert found["of_unrecorded"][PLAIN] == 1.0
    assert {len(values) for values in found["ms"].values()} == {3}


def test_ways_that_answer_differently_are_not_compared():
    with pytest.raises(AssertionError, match="onnxruntime"):
        timed(ways([], onnxruntime=1.1), 1, rounds=1)
