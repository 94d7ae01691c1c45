"""False rejects and escapes at every threshold, against counts by hand."""

import math

import numpy as np
import pytest

from model.errors import NonFiniteOutput
from model.metrics import DrawnRates, TradeOff, wilson, wilson_band

# Good: 1, 2, 3, 3. Defective: 2, 3, 5.
DEFECTIVE = np.array([0, 0, 0, 0, 1, 1, 1], dtype=bool)
SCORES = np.array([1.0, 2.0, 3.0, 3.0, 2.0, 3.0, 5.0])


def test_counts_at_every_threshold():
    trade_off = TradeOff.of(DEFECTIVE, SCORES)
    assert trade_off.thresholds.tolist() == [-math.inf, 1, 2, 3, 5]
    assert trade_off.rejected.tolist() == [4, 3, 2, 0, 0]  # strictly above
    assert trade_off.passed.tolist() == [0, 0, 1, 2, 3]
    assert trade_off.false_reject_rates.tolist() == [1, 0.75, 0.5, 0, 0]
    assert trade_off.escape_rates == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    assert [trade_off.place(at) for at in (0.5, 1.0, 2.9, 3.0, 4.9, 9.0)] == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("limit", "threshold"), [(0.0, 1), (0.3, 1), (1 / 3, 2), (0.7, 3), (1.0, 5)]
)
def test_the_highest_threshold_with_at_most_these_escapes(limit, threshold):
    trade_off = TradeOff.of(DEFECTIVE, SCORES)
    assert trade_off.thresholds[trade_off.place_of_escapes(limit)] == threshold


def test_a_limit_of_two_percent_of_fifty_is_one_part():
    defective = np.arange(60) >= 10
    trade_off = TradeOff.of(defective, np.arange(60.0))
    assert trade_off.passed[trade_off.place_of_escapes(0.02)] == 1


def test_costs_of_a_mix_of_parts():
    trade_off = TradeOff.of(DEFECTIVE, SCORES)
    # One of ten parts is defective; a false reject costs 1, an escape 20.
    expected = [0.9, 0.9 * 0.75, 0.9 * 0.5 + 2 / 3, 2 * 2 / 3, 2]
    assert trade_off.costs(1.0, 20.0, 0.1) == pytest.approx(expected)


def test_resamplings_choose_their_own_threshold():
    drawn_twice = np.array([
        [1, 1, 1, 1, 1, 1, 1],  # as they are
        [0, 0, 2, 2, 0, 3, 0],  # good parts with 3 alone, and the defect with 3 three times
    ])  # fmt: skip
    drawn = DrawnRates.of(DEFECTIVE, SCORES, drawn_twice)
    assert drawn.false_reject_rates.tolist() == [[1, 0.75, 0.5, 0, 0], [1, 1, 1, 0, 0]]
    assert drawn.escape_rates[1].tolist() == [0, 0, 0, 1, 1]
    assert drawn.false_rejects_at(0.0).tolist() == [0.75, 1]
    assert drawn.false_rejects_at(0.4).tolist() == [0.5, 1]
    assert drawn.costs(1.0, 20.0, 0.1)[0] == pytest.approx(
        TradeOff.of(DEFECTIVE, SCORES).costs(1.0, 20.0, 0.1)
    )


@pytest.mark.parametrize("labels", [np.zeros(7, bool), np.ones(7, bool)])
def test_one_kind_alone_has_no_trade_off(labels):
    with pytest.raises(ValueError, match="both good and defective"):
        TradeOff.of(labels, SCORES)


def test_a_score_of_nan_is_an_error():
    with pytest.raises(NonFiniteOutput):
        TradeOff.of(DEFECTIVE, np.where(SCORES == 5, np.nan, SCORES))


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    # With z = 1.959964: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    [(0, 10, (0.0, 0.27753)), (10, 10, (0.72247, 1.0)), (1, 2, (0.09453, 0.90547)),
     (15, 50, (0.19103, 0.43750))],
)  # fmt: skip
def test_wilsons_interval(count, total, expected):
    assert wilson(count, total) == pytest.approx(expected, abs=1e-4)
    low, high = wilson_band(np.array([count]), total)
    assert (low[0], high[0]) == wilson(count, total)
    narrow = wilson(count, total, 0.5)
    assert expected[0] - 1e-4 <= narrow[0] <= narrow[1] <= expected[1] + 1e-4
