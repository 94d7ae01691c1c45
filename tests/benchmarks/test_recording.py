import numpy as np
import pytest

from benchmarks.recording import ONNX, PLAIN, RECORDED, Ways, timed


class Fake:
    """Answers one value everywhere, and records its name in `calls`."""

    def __init__(self, name, calls, value=1.0):
        self.name, self.calls, self.value = name, calls, value

    def compare(self, images, lap):
        self.calls.append(self.name)
        return np.full((len(images), 4, 4), self.value, np.float32)


def ways(calls, **values):
    engines = {name: Fake(name, calls, values.get(name, 1.0)) for name in (RECORDED, PLAIN, ONNX)}
    return Ways(engines, {}, True, (4, 4))


def test_every_round_asks_each_way_once_in_an_order_that_turns():
    calls = []
    timing = timed(ways(calls), 2, rounds=3)
    first, *rounds = (calls[i : i + 3] for i in range(0, len(calls), 3))
    assert set(first) == {RECORDED, PLAIN, ONNX}
    assert all(sorted(order) == sorted(first) for order in rounds)
    assert [order[0] for order in rounds] == [RECORDED, PLAIN, ONNX]
    assert timing["of_unrecorded"][PLAIN] == 1.0
    assert {len(values) for values in timing["ms"].values()} == {3}


def test_ways_that_answer_differently_are_not_compared():
    with pytest.raises(AssertionError, match="onnxruntime"):
        timed(ways([], onnxruntime=1.1), 1, rounds=1)
