"""The client's search of the archive, and its verdicts."""

import asyncio
import json
from datetime import UTC, datetime

import httpx
import pytest

from service.api.inspections import openapi
from service.client import (
    AsyncClient,
    Client,
    Decision,
    InvalidRequest,
    Retry,
    Search,
    UnexpectedAnswer,
    UnknownInspection,
    Verdict,
)
from tests.service.api.inspections.conftest import archived  # noqa: F401

ROW = openapi.SEARCH[200]["content"]["application/json"]["example"]["inspections"][0]
ONE = openapi.ONE[200]["content"]["application/json"]["example"]
NO_WAIT = Retry(attempts=2, backoff_s=0, max_backoff_s=0)
IDENTIFIER = ROW["inspection_id"]


class Script:
    """A service that answers as written, and remembers what it was asked."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def client(self):
        transport = httpx.MockTransport(self)
        return Client("http://line", transport=transport, retry=NO_WAIT)

    def async_client(self):
        transport = httpx.MockTransport(self)
        return AsyncClient("http://line", transport=transport, retry=NO_WAIT)


def page(*rows, cursor=None):
    return httpx.Response(200, json={"inspections": list(rows), "cursor": cursor})


def row(part_id):
    return {**ROW, "part_id": part_id}


def refused(status, kind):
    problem = {"type": f"urn:mambaad:problem:{kind}", "title": "No", "status": status}
    return httpx.Response(status, json=problem)


def test_pages_are_fetched_when_they_are_needed():
    script = Script(page(row("1"), row("2"), cursor="next"), page(row("3")))
    with script.client() as client:
        found = client.inspections(Search(station="EL-3", told=Decision.NG), page_size=2)
        assert script.requests == []
        first = [next(found).part_id, next(found).part_id]
        assert len(script.requests) == 1
        assert [*first, *(part.part_id for part in found)] == ["1", "2", "3"]
    asked = [dict(request.url.params) for request in script.requests]
    query = {"station": "EL-3", "told": "NG", "limit": "2"}
    assert asked == [query, {**query, "cursor": "next"}]


def test_every_field_of_a_search_is_sent():
    search = Search(
        category="bolt", station="a&b", part_id="'; --", job_id="j", told="OK",
        found=Decision.NG, verdict=Verdict.GOOD, model="solar/3", origin="late",
        since=datetime(2026, 11, 29, 6, tzinfo=UTC), until=datetime(2026, 11, 30, tzinfo=UTC),
        min_score=0.25, max_score=1, is_held=False, open_review=True,
    )  # fmt: skip
    script = Script(page())
    with script.client() as client:
        assert list(client.inspections(search)) == []
    assert dict(script.requests[0].url.params) == {
        "category": "bolt", "station": "a&b", "part_id": "'; --", "job_id": "j", "told": "OK",
        "found": "NG", "verdict": "good", "model": "solar/3", "origin": "late",
        "since": "2026-11-29T06:00:00+00:00", "until": "2026-11-30T00:00:00+00:00",
        "min_score": "0.25", "max_score": "1", "is_held": "false", "open_review": "true",
        "limit": "100",
    }  # fmt: skip


def test_a_time_needs_a_zone():
    with pytest.raises(ValueError, match="since needs a time zone"):
        Search(since=datetime(2026, 11, 29))


def test_an_inspection_is_typed():
    script = Script(httpx.Response(200, json={**ONE, "from_a_newer_service": 1}))
    with script.client() as client:
        part = client.inspection(IDENTIFIER)
    assert script.requests[0].url.path == f"/inspections/{IDENTIFIER}"
    assert (str(part.inspection_id), part.told, part.verdict) == (
        IDENTIFIER,
        Decision.NG,
        Verdict.DEFECTIVE,
    )
    assert (part.model.name, part.views[0].regions[0].peak.x) == ("solar", 121)
    assert part.verdicts[0].author == "Ada (quality)"
    assert part.received_at.tzinfo is not None
    assert part.answer["from_a_newer_service"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"inspections": 7}),
        httpx.Response(200, json={"inspections": [{"told": "OK"}], "cursor": None}),
        page({**ROW, "told": "MAYBE"}),
        httpx.Response(200, text="hello"),
    ],
)
def test_an_unreadable_answer_is_refused(answer):
    with Script(answer).client() as client, pytest.raises(UnexpectedAnswer):
        list(client.inspections())


def test_a_verdict_is_sent_as_json_and_again_after_a_broken_connection():
    script = Script(httpx.ReadError("broken"), httpx.Response(200, json=ONE))
    with script.client() as client:
        part = client.verdict(IDENTIFIER, "defective", defect_class="crack", who="Ada")
    assert part.verdict is Verdict.DEFECTIVE
    for request in script.requests:
        assert (request.method, request.url.path) == ("PUT", f"/inspections/{IDENTIFIER}/verdict")
        assert request.headers["content-type"] == "application/json"
        expected = {"verdict": "defective", "defect_class": "crack", "who": "Ada"}
        assert json.loads(request.content) == expected
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (404, "unknown-inspection", UnknownInspection),
        (404, "no-archive", InvalidRequest),
        (400, "invalid-cursor", InvalidRequest),
    ],
)
def test_a_problem_is_an_exception_of_its_own_kind(status, kind, error):
    with Script(refused(status, kind)).client() as client, pytest.raises(error):
        client.inspection("../../models")


def test_an_id_stays_in_its_place_of_the_path():
    script = Script(refused(422, "invalid-request"))
    with script.client() as client, pytest.raises(InvalidRequest):
        client.inspection("../models?x=1")
    assert script.requests[0].url.raw_path == b"/inspections/..%2Fmodels%3Fx%3D1"


def test_the_async_client_does_the_same():
    script = Script(
        page(row("1"), cursor="next"), page(row("2")), *[httpx.Response(200, json=ONE)] * 2
    )

    async def go():
        async with script.async_client() as client:
            found = [part.part_id async for part in client.inspections(Search(category="bolt"))]
            one = await client.inspection(IDENTIFIER)
            return found, one, await client.verdict(IDENTIFIER, Verdict.GOOD)

    found, one, judged = asyncio.run(go())
    assert found == ["1", "2"]
    assert one == judged
    assert [request.method for request in script.requests] == ["GET", "GET", "GET", "PUT"]


def test_against_the_service(archived):  # noqa: F811
    records = [archived.put(part_id=str(number)) for number in range(5)]

    async def scenario(http):
        client = AsyncClient(
            "http://127.0.0.1", api_key=archived.secrets["review"], transport=http._transport
        )
        found = [part async for part in client.inspections(Search(category="bolt"), page_size=2)]
        judged = await client.verdict(records[0].inspection_id, "good", comment="dust", who="Ada")
        again = await client.inspection(records[0].inspection_id)
        return found, judged, again

    found, judged, again = archived.line.run(scenario)
    assert [part.part_id for part in found] == ["4", "3", "2", "1", "0"]
    assert judged == again
    assert (again.verdicts[0].comment, again.verdicts[0].author) == ("dust", "Ada (key-review)")
