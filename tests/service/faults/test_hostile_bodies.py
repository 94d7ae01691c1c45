"""Bodies that try to cost more than their size: each is refused cheaply, others are served."""

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.hostile_bodies import bodies, fixed_bodies

SIZE = 2_000_000
FIXED = {f"{number} {body}": body for number, body in enumerate(fixed_bodies(SIZE))}
SILENCE_S = 1.0
"""Margin of a busy machine over a quarter of a second; silences used to be two to eight."""


def send(client: httpx.Client, body) -> httpx.Response:
    return client.request(
        body.method, body.path, content=body.content, headers=dict(body.headers), timeout=60
    )


def check(response: httpx.Response, body) -> None:
    assert response.status_code in body.statuses, (str(body), response.text[:500])
    assert len(response.content) < 600_000  # a batch has an answer for each image
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers.get("x-decision", "UNDECIDED") == "UNDECIDED"
        assert len(response.content) < 8000


@pytest.mark.parametrize("name", FIXED)
def test_a_body_costs_no_more_than_its_bounds(live, name):
    body = FIXED[name]
    with live.client() as client, live.heard(SILENCE_S), live.memory_within(100):
        check(send(client, body), body)


def test_bodies_of_every_kind_are_answered_and_others_served(live, image):
    @settings(
        max_examples=80,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies(300_000))
    def ask(body):
        check(send(client, body), body)

    with (
        live.client() as client,
        live.bystander(image()),
        live.heard(2 * SILENCE_S),
        live.memory_within(150),
    ):
        ask()


@pytest.mark.long
def test_many_more_of_them(live, image):
    @settings(
        max_examples=500, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(bodies(4_000_000))
    def ask(body):
        check(send(client, body), body)

    with live.client() as client, live.bystander(image()), live.heard(2 * SILENCE_S):
        ask()
