"""Idempotency-Key: one inspection however often a client sends it; only final answers are kept."""

import asyncio
import json

import pytest

from service.errors import QueueFull


def posting(client, content, key="k-1", path="/detect?category=bolt", **options):
    return client.post(path, content=content, headers={"Idempotency-Key": key}, **options)


def test_a_repeated_request_gets_the_same_answer_and_no_inspection(line, image):
    content = image()

    async def scenario(client):
        return [await posting(client, content) for _ in range(3)]

    first, *others = line.run(scenario)
    assert first.status_code == 200
    assert "idempotency-replayed" not in first.headers
    for other in others:
        assert other.content == first.content
        assert other.headers["idempotency-replayed"] == "true"
        assert other.headers["x-decision"] == first.headers["x-decision"] == "OK"
        assert other.headers["content-type"] == "application/json"
        assert other.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(line.jobs) == 1
    counted = {
        outcome: line.metrics.idempotent_answers.labels(outcome)._value.get()
        for outcome in ("computed", "replayed", "conflict")
    }
    assert counted == {"computed": 1, "replayed": 2, "conflict": 0}


def test_a_form_is_the_same_whatever_its_boundary(line, image):
    async def scenario(client):
        for boundary in ("one", "two"):
            headers = {
                "Idempotency-Key": "k",
                "Content-Type": f"multipart/form-data; boundary={boundary}",
            }
            files = {"file": ("x.png", image())}
            form = {"category": "bolt", "meta": json.dumps({"a": 1})}
            response = await client.post("/detect", files=files, data=form, headers=headers)
            assert response.status_code == 200
        return response

    assert line.run(scenario).headers["idempotency-replayed"] == "true"
    assert len(line.jobs) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"content": b"text"},
        {"path": "/detect?category=nut"},
        {"path": "/detect?category=bolt&part_id=7"},
        {"path": "/detect?category=bolt&heatmap=mask"},
        {"path": "/detect/batch?category=bolt"},
    ],
)
def test_a_key_stands_for_one_request(line, image, problem, other):
    content = image()

    async def scenario(client):
        await posting(client, content)
        return await posting(client, **{"content": content, **other})

    response = line.run(scenario)
    body = problem(response, 422, "idempotency-key-reused")
    assert "new key" in body["detail"]
    assert response.headers["x-decision"] == "UNDECIDED"


def test_those_who_ask_at_once_wait_for_the_first(line, image):
    line.silent_widths = {9}
    content = image(9, 8)

    async def scenario(client):
        asking = [asyncio.create_task(posting(client, content)) for _ in range(5)]
        while not line.jobs:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        line.answer(line.jobs[0])
        return await asyncio.gather(*asking)

    answers = line.run(scenario)
    assert {response.status_code for response in answers} == {200}
    assert sorted("idempotency-replayed" in response.headers for response in answers) == [
        False,
        *[True] * 4,
    ]
    assert len(line.jobs) == 1


def test_whoever_waits_takes_over_from_one_that_left(line, image):
    line.silent_widths = {9}
    content = image(9, 8)

    async def scenario(client):
        first = asyncio.create_task(posting(client, content))
        while not line.jobs:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(posting(client, content))
        await asyncio.sleep(0.05)
        line.silent_widths = set()
        first.cancel()
        return await second

    response = line.run(scenario)
    assert response.status_code == 200
    assert "idempotency-replayed" not in response.headers
    assert len(line.jobs) == 2


def test_waiting_ends_in_time(line, image, problem):
    line.silent_widths = {9}
    content = image(9, 8)

    async def scenario(client):
        first = asyncio.create_task(posting(client, content))
        while not line.jobs:
            await asyncio.sleep(0.01)
        headers = {"Idempotency-Key": "k-1", "X-Request-Timeout-Ms": "50"}
        second = await client.post("/detect?category=bolt", content=content, headers=headers)
        first.cancel()
        return second

    assert "another request" in problem(line.run(scenario), 504, "deadline-exceeded")["detail"]


def test_try_again_is_no_final_answer(line, image):
    async def scenario(client):
        line.admit_error = lambda: QueueFull("full")
        refused = await posting(client, image())
        line.admit_error = lambda: None
        return refused, await posting(client, image())

    refused, inspected = line.run(scenario)
    assert (refused.status_code, inspected.status_code) == (503, 200)
    assert "idempotency-replayed" not in inspected.headers


@pytest.mark.parametrize(("category", "is_final"), [("bolt", True), ("ghost", False)])
def test_an_answer_with_an_image_to_try_again_is_not_final(line, image, category, is_final):
    async def scenario(client):
        files = [("file", ("a", image())), ("file", ("b", b"text"))]
        fields = json.dumps([{"category": category}, {"category": "bolt"}])
        headers = {"Idempotency-Key": "k"}
        return [
            await client.post(
                "/detect/batch", files=files, data={"images": fields}, headers=headers
            )
            for _ in range(2)
        ][1]

    assert ("idempotency-replayed" in line.run(scenario).headers) is is_final


def test_what_is_wrong_with_the_image_stays_wrong(line):
    async def scenario(client):
        return [await posting(client, b"text") for _ in range(2)]

    first, second = line.run(scenario)
    assert first.status_code == second.status_code == 415
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["x-fail-safe"] == "STOP"
    assert second.headers["content-type"] == "application/problem+json"


def test_answers_are_bounded_in_number_bytes_and_age(line, image):
    async def scenario(client):
        for number in range(5):
            await posting(client, image(8, 8), key=f"k-{number}")
        assert len(line.answers) == 3
        assert "idempotency-replayed" in (await posting(client, image(8, 8), key="k-2")).headers
        await posting(client, image(8, 8), key="k-5")  # evicts k-3, the least recently used
        assert "idempotency-replayed" in (await posting(client, image(8, 8), key="k-2")).headers
        assert "idempotency-replayed" not in (await posting(client, image(8, 8), key="k-3")).headers
        large = "/detect?category=bolt&heatmap=overlay"
        for number in range(3):
            answer = await posting(client, image(60, 60), key=f"large-{number}", path=large)
            assert 5_000 < len(answer.content) < 20_000
            assert line.answers.nbytes <= 20_000
        too_large = await posting(client, image(190, 190), key="x", path=large)
        assert len(too_large.content) > 20_000
        again = await posting(client, image(190, 190), key="x", path=large)
        assert "idempotency-replayed" not in again.headers
        line.answers._ttl_s = 0.0
        await posting(client, image(8, 8), key="short")
        return await posting(client, image(8, 8), key="short")

    assert "idempotency-replayed" not in line.run(scenario).headers


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9", "\t"])
def test_an_impossible_key_is_refused(line, image, problem, key):
    headers = {"Idempotency-Key": key.encode()}
    response = line.post("/detect?category=bolt", content=image(), headers=headers)
    problem(response, 422, "invalid-request")
