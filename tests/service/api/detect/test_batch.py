"""`POST /detect/batch`: one outcome per image, independent of the other images."""

import asyncio
import base64
import json
import time

import pytest

from service.errors import NoWorkerReady, QueueFull


def as_json(*images, **fields):
    return {
        "images": [{**image, "content": encoded(image["content"])} for image in images]
    } | fields


def encoded(content):
    return content if isinstance(content, str) else base64.b64encode(content).decode()


def test_each_image_has_its_own_fields_and_outcome(line, image):
    body = as_json(
        {"content": image(), "category": "bolt", "part_id": "a"},
        {"content": image(), "category": "nut", "part_id": "b", "heatmap": "mask"},
        {"content": image(), "category": "nothing", "part_id": "c"},
        {"content": image()[:99], "part_id": "d"},
        {"content": "%%%", "part_id": "e"},
        {"content": image(), "category": "ghost", "part_id": "f"},
        {"content": image(), "category": "crash", "part_id": "g"},
        {"content": image(), "part_id": "h", "meta": {"n": 1}},
        category="doubt",
        station="EL-3",
    )
    response = line.post("/detect/batch", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    decisions = ["OK", "NG", *["UNDECIDED"] * 5, "REVIEW"]
    results = answer["results"]
    assert [result["decision"] for result in results] == decisions
    assert [result["part_id"] for result in results] == list("abcdefgh")
    assert {result["station"] for result in results} == {"EL-3"}
    statuses = [result["error"] and result["error"]["status"] for result in results]
    assert statuses == [None, None, 404, 422, 422, 500, 500, None]
    assert [bool(result["heatmap"]) for result in results] == [False, True, *[False] * 6]
    assert [result["fail_safe"] for result in results] == [None, None, *["STOP"] * 5, None]
    assert answer["counts"] == {"OK": 1, "NG": 1, "REVIEW": 1, "UNDECIDED": 5}
    assert (answer["decision"], answer["fail_safe"]) == ("NG", "STOP")
    assert response.headers["x-decision"] == "NG"
    assert results[7]["meta"] == {"n": 1}


def test_a_form_takes_fields_for_each_file(line, image):
    files = [("file", (f"{i}.png", image(10 + i, 8))) for i in range(8)]
    fields = [{"category": "nut" if i % 2 else "bolt", "part_id": str(i)} for i in range(8)]
    response = line.post("/detect/batch", files=files, data={"images": json.dumps(fields)})
    results = response.json()["results"]
    assert [result["decision"] for result in results] == ["OK", "NG"] * 4
    assert [result["image"]["width"] for result in results] == list(range(10, 18))
    assert [result["part_id"] for result in results] == list("01234567")
    response = line.post("/detect/batch", files=files, data={"category": "bolt"})
    assert response.json()["counts"]["OK"] == 8


def test_all_failed_is_still_an_answer(line):
    response = line.post("/detect/batch", json=as_json(*[{"content": ""}] * 3))
    assert response.status_code == 200
    assert response.headers["x-decision"] == response.json()["decision"] == "UNDECIDED"
    assert response.headers["x-fail-safe"] == "STOP"
    errors = [result["error"]["status"] for result in response.json()["results"]]
    assert errors == [422] * 3


@pytest.mark.parametrize(
    ("request_parts", "status", "slug"),
    [
        ({"json": {"images": []}}, 422, "invalid-request"),
        ({"json": as_json(*[{"content": ""}] * 21)}, 422, "invalid-request"),
        ({"json": as_json({"content": "", "category": 7})}, 422, "invalid-request"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "malformed-body"),
        ({"files": {"file": b"x"}, "data": {"images": "[]"}}, 422, "invalid-request"),
        ({"files": {"file": b"x"}, "data": {"images": "[{}, {}]"}}, 422, "invalid-request"),
        ({"files": {"file": b"x"}, "data": {"images": "{"}}, 400, "malformed-body"),
        ({"json": as_json({"content": "A" * 800_000})}, 413, "body-too-large"),
    ],
)
def test_a_request_that_is_not_understood_is_refused(line, problem, request_parts, status, slug):
    problem(line.post("/detect/batch", **request_parts), status, slug)


def test_images_wait_for_room_instead_of_being_refused(line, image):
    refusals = iter([QueueFull("full"), NoWorkerReady("starting")] * 5)
    line.admit_error = lambda: next(refusals, None)
    body = as_json(*[{"content": image(), "category": "bolt"}] * 6)
    response = line.post("/detect/batch", json=body)
    assert response.json()["counts"] == {"OK": 6, "NG": 0, "REVIEW": 0, "UNDECIDED": 0}
    line.admit_error = lambda: QueueFull("full")
    assert line.detect(category="bolt", content=image()).status_code == 503


def test_what_was_inspected_in_time_is_not_lost(line, image):
    line.silent_widths = {9}
    images = [{"content": image(9 if i == 2 else 8, 8), "category": "bolt"} for i in range(8)]
    headers = {"X-Request-Timeout-Ms": "500"}
    response = line.post("/detect/batch", json=as_json(*images), headers=headers)
    decisions = [result["decision"] for result in response.json()["results"]]
    assert decisions == ["OK", "OK", "UNDECIDED", *["OK"] * 5]
    assert response.json()["results"][2]["error"]["status"] == 504


def test_only_so_many_run_at_once(line, image):
    images = [{"content": image(9, 8), "category": "bolt"}] * 10
    line.silent_widths = {9}

    async def scenario(client):
        posting = asyncio.create_task(client.post("/detect/batch", json=as_json(*images)))
        while len(line.jobs) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        running = len(line.jobs)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return running

    assert line.run(scenario) == 4


@pytest.mark.parametrize(("ago_s", "statuses"), [(0.0, [None] * 3), (6.0, [503] * 3)])
def test_a_service_that_leaves_answers_what_it_came_to(line, image, monkeypatch, ago_s, statuses):
    line.shutdown.begin()
    begun = time.monotonic()
    monkeypatch.setattr("service.shutdown.time.monotonic", lambda: begun + ago_s)
    body = as_json(*[{"content": image()}] * 3, category="bolt")
    response = line.post("/detect/batch", json=body)
    assert response.status_code == 200
    errors = [result["error"] for result in response.json()["results"]]
    assert [error and error["status"] for error in errors] == statuses
