"""Back-off and circuit breaker, by a clock of the test."""

import pytest

from service.delivery.breaker import Breaker, BreakerState


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(1.0, 30.0, dice=lambda: 1.0, clock=clock)


def test_pauses_double_until_it_opens(breaker):
    pauses = []
    for _ in range(4):
        breaker.failed()
        pauses.append(breaker.wait_s)
    assert pauses == [1, 2, 4, 8]
    assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert (breaker.state, breaker.wait_s) == (BreakerState.OPEN, 30)


def test_one_try_is_allowed_after_the_pause_and_success_closes_it(breaker, clock):
    for _ in range(5):
        breaker.failed()
    clock.now += 30
    assert (breaker.state, breaker.wait_s) == (BreakerState.HALF_OPEN, 0)
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    clock.now += 30
    breaker.succeeded()
    assert (breaker.state, breaker.failures) == (BreakerState.CLOSED, 0)
    breaker.failed()
    assert breaker.wait_s == 1


def test_what_needs_help_opens_it_at_once(breaker):
    breaker.failed(needs_help=True)
    assert (breaker.state, breaker.wait_s) == (BreakerState.OPEN, 30)


def test_an_operator_may_try_at_once(breaker):
    breaker.failed(needs_help=True)
    breaker.retry_now()
    assert (breaker.state, breaker.wait_s) == (BreakerState.HALF_OPEN, 0)


def test_the_receivers_pause_is_kept_up_to_an_hour(breaker):
    breaker.failed(retry_after_s=600)
    assert breaker.wait_s == 600
    breaker.failed(retry_after_s=1e9)
    assert breaker.wait_s == 3600
    breaker.succeeded()
    breaker.failed(retry_after_s=0.01)
    assert breaker.wait_s == 1


def test_a_long_outage_does_not_overflow(breaker):
    for _ in range(5000):
        breaker.failed()
    assert breaker.wait_s == 30


def test_jitter_shortens_a_pause_by_half_at_most(clock):
    breaker = Breaker(1.0, 30.0, dice=lambda: 0.0, clock=clock)
    breaker.failed()
    assert breaker.wait_s == 0.5
