"""No request exceeds its budget, whatever its content; see docs/reliability.md.

A failure names the request, the figure and its limit. A fixed seed generates the requests, so
failures repeat.
"""

import pytest

from tests.hostile_framing import HostileRequest
from tests.hostile_requests import KINDS, drawn, fixed, fixed_requests
from tests.service.budget import Budget, Scales
from tests.service.live import serving

BUDGET = Budget(memory_mb=256, silence_s=1.0, processor_s=6.0)
"""At 16 megapixels an image takes 16 bytes a pixel; silence has a margin for a busy machine."""

ALLOWED_ABOVE_500 = {501, 503, 504}
"""Unknown method, no room, no time."""

FEW, MANY = 4, 200


@pytest.fixture(scope="module")
def service(live_store):
    """A separate service with limits like a line's, so that no other requests are measured."""
    with serving(
        live_store,
        inspection__max_image_pixels=16_000_000,
        http__request_timeout_ms=5_000,
        http__body_timeout_s=5,
        workers__stop_grace_s=2,
        http__shutdown_grace_s=0,
    ) as live:
        yield live


@pytest.fixture(scope="module")
def scales(service):
    with Scales(service) as scales:
        yield scales


def hold(scales: Scales, request: HostileRequest) -> None:
    reply, _ = scales.hold(str(request), request.content, BUDGET)
    assert reply.status is None or reply.status < 500 or reply.status in ALLOWED_ABOVE_500, (
        f"{request} was answered {reply.status}: {reply.body[:300]!r}"
    )
    assert reply.status == 200 or reply.decision != "OK", f"{request} is OK with {reply.status}"


@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_a_kind_stay_within_the_budget(scales, kind):
    for request in drawn(kind, FEW):
        hold(scales, request)


@pytest.mark.parametrize("name", fixed())
def test_a_request_that_once_cost_too_much_does_not(scales, name):
    hold(scales, fixed()[name]())


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_requests_of_a_kind_stay_within_the_budget(scales, kind):
    for request in drawn(kind, MANY):
        hold(scales, request)


@pytest.mark.long
def test_every_request_that_once_cost_too_much_does_not(scales):
    for request in fixed_requests():
        hold(scales, request)


def test_the_service_is_sound_after_all_that(service, image):
    service.await_health()
    for category, decision in (("bolt", "OK"), ("nut", "NG")):
        assert service.inspect(image(), category)["decision"] == decision
    assert service.tracebacks() == []
