"""Rates: a burst of one second's worth, then a steady refill; the table stays small."""

import pytest

from service.access.rates import RateLimiter, caller_of_address


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_seconds_worth_at_once_then_one_at_a_time(clock):
    limiter = RateLimiter(clock)
    assert [limiter.take("a", 4) for _ in range(4)] == [0.0] * 4
    assert limiter.take("a", 4) == pytest.approx(0.25)
    clock.now += 0.25
    assert limiter.take("a", 4) == 0
    assert limiter.take("a", 4) == pytest.approx(0.25)


def test_a_slow_rate_still_lets_one_through(clock):
    limiter = RateLimiter(clock)
    assert limiter.take("a", 0.1) == 0
    assert limiter.take("a", 0.1) == pytest.approx(10)


def test_callers_do_not_share(clock):
    limiter = RateLimiter(clock)
    assert limiter.take("a", 1) == limiter.take("b", 1) == 0
    assert limiter.take("a", 1) > 0


def test_patience_is_not_hoarded(clock):
    limiter = RateLimiter(clock)
    limiter.take("a", 2)
    clock.now += 3600
    assert [limiter.take("a", 2) > 0 for _ in range(3)] == [False, False, True]


def test_a_clock_that_steps_back_takes_nothing_twice(clock):
    limiter = RateLimiter(clock)
    limiter.take("a", 2)
    clock.now -= 50
    assert limiter.take("a", 2) >= 0
    clock.now += 100
    assert limiter.take("a", 2) == 0


def test_what_a_request_held_is_owed(clock):
    limiter = RateLimiter(clock)
    assert limiter.take("a", 4) == 0
    limiter.charge("a", 9)
    assert limiter.take("a", 4) == pytest.approx(7 / 4)
    clock.now += 7 / 4
    assert limiter.take("a", 4) == 0


def test_the_table_forgets_who_asked_longest_ago(clock):
    limiter = RateLimiter(clock, max_buckets=2)
    for name in ("a", "b", "a", "c"):
        limiter.take(name, 1)
    assert len(limiter) == 2
    assert limiter.take("a", 1) > 0
    assert limiter.take("b", 1) == 0


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_host_cannot_change_its_name_at_will(address, name):
    assert caller_of_address(address) == name
