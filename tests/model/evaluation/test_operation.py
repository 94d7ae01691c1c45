"""What escapes cost, by hand."""

import pytest

from model.errors import ConfigError
from model.evaluation.operation import Prices, operate
from model.metrics import wilson
from tests.model.evaluation.records import records_of

# In force: NG above 0.5. One of four good parts and two of four defective ones are above.
PARTS = records_of(good=[0.1, 0.2, 0.3, 0.7], crack=[0.25, 0.45, 0.6, 0.9])


def test_the_price_of_each_limit_of_escapes():
    operation = operate(PARTS, Prices(), resamplings=300)
    # No escape among four: the threshold is the highest below the lowest defect, 0.2.
    assert [price.limit for price in operation.escape_prices] == [0.01, 0.02, 0.05]
    for price in operation.escape_prices:
        assert (price.threshold, price.escapes, price.rate) == (0.2, 0, 0.5)
        assert price.escape_interval == wilson(0, 4)
        assert price.interval[0] <= 0.5 <= price.interval[1]


def test_the_cost_in_force_and_the_lowest():
    operation = operate(PARTS, Prices(1.0, 20.0, 0.1), resamplings=300)
    cost, (low, high) = operation.cost_at(operation.place)
    assert cost == pytest.approx(0.9 * 1 * 1 / 4 + 0.1 * 20 * 2 / 4)
    assert low <= cost <= high
    assert operation.trade_off.thresholds[operation.cheapest] == 0.2
    assert operation.cost_at(operation.cheapest)[0] == pytest.approx(0.9 * 2 / 4)
    written = operation.to_dict()["cost"]
    assert written["per_part"]["cost"] == pytest.approx(cost)
    assert (written["per_part"]["threshold"], written["lowest"]["threshold"]) == (0.5, 0.2)
    assert (written["false_reject"], written["escape"]) == (1.0, 20.0)


def test_without_a_share_the_mix_of_the_test_is_used():
    operation = operate(PARTS[:6], Prices(1.0, 20.0), resamplings=100)
    assert operation.defective_share == pytest.approx(2 / 6)
    assert operation.prices.defective_share is None


def test_free_escapes_leave_every_part_ok():
    operation = operate(PARTS, Prices(1.0, 0.0, 0.1), resamplings=100)
    assert operation.trade_off.thresholds[operation.cheapest] == 0.9
    assert operation.cost_at(operation.cheapest) == (0.0, (0.0, 0.0))


def test_every_escape_must_cost_all_good_parts_if_a_defect_scores_lowest():
    operation = operate(records_of(good=[0.2, 0.3], crack=[0.1]), Prices(), resamplings=100)
    price = operation.escape_prices[0]
    assert (price.threshold, price.rate) == (float("-inf"), 1.0)
    assert price.to_dict()["threshold"] is None


@pytest.mark.parametrize("kinds", [{"good": [0.1, 0.2]}, {"crack": [0.1, 0.2]}])
def test_one_kind_of_part_has_no_trade_off(kinds):
    assert operate(records_of(**kinds), Prices()) is None


@pytest.mark.parametrize(
    "prices", [(-1.0, 1.0, None), (1.0, float("inf"), None), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0)]
)
def test_impossible_prices_are_errors(prices):
    with pytest.raises(ConfigError, match="got"):
        Prices(*prices)
