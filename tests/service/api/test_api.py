"""`POST /detect` on workers that answer at once: bodies, fields, headers and decisions."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image


def as_json(*contents, **fields):
    images = [{"content": base64.b64encode(content).decode()} for content in contents]
    return {"images": images, **fields}


def picture_of(result):
    return np.asarray(Image.open(BytesIO(base64.b64decode(result["heatmap"], validate=True))))


def test_json_is_inspected(line, image):
    body = as_json(image(30, 20), image(31, 20), category="nut")
    body["images"][1]["filename"] = "side.png"
    response = line.post("/detect", json=body)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["image"]["width"] for result in results] == [30, 31]
    assert [result["filename"] for result in results] == [None, "side.png"]
    assert [result["decision"] for result in results] == ["NG", "NG"]


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        ("%%%%", 422, "undecodable-image"),
        ("AAA", 422, "undecodable-image"),
        ("AA\nAA===", 422, "undecodable-image"),
        ("iVBORw0KGgo\u00e9", 422, "undecodable-image"),
        ("", 422, "undecodable-image"),
        ("A" * 400_000, 413, "body-too-large"),
        ("%" * 400_000, 413, "body-too-large"),
        (base64.b64encode(b"text").decode(), 415, "unsupported-image"),
    ],
)
def test_base64_is_checked_for_size_first(line, problem, content, status, slug):
    body = {"category": "bolt", "images": [{"content": content}]}
    problem(line.post("/detect", json=body), status, slug)


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "malformed-body"),
        (b"{", 400, "malformed-body"),
        (b"\xff\xfe", 400, "malformed-body"),
        (b"[" * 100_000, 400, "malformed-body"),
        (b'{"meta": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, 400, "malformed-body"),
        (b"[]", 422, "invalid-request"),
        (b'{"category": "bolt", "images": []}', 422, "invalid-request"),
        (b'{"category": "bolt", "images": [{}]}', 422, "invalid-request"),
        (b'{"category": "bolt", "images": [{"content": 1}]}', 422, "invalid-request"),
        (b'{"category": "bolt", "images": [{"content": "", "x": 1}]}', 422, "invalid-request"),
        (b'{"category": 7, "images": [{"content": ""}]}', 422, "invalid-request"),
        (b'{"images": [{"content": ""}]}', 422, "invalid-request"),
        (b'{"category": "bolt", "images": [{"content": ""}], "q": 1}', 422, "invalid-request"),
    ],
)
def test_json_is_read_strictly(line, problem, body, status, slug):
    headers = {"content-type": "application/json; charset=utf-8"}
    refusal = problem(line.post("/detect", content=body, headers=headers), status, slug)
    assert len(json.dumps(refusal)) < 2000


def test_json_may_hold_so_many_images(line, image, problem):
    body = as_json(*[image(8, 8)] * 7, category="bolt")
    assert "at most 6" in problem(line.post("/detect", json=body), 422, "invalid-request")["detail"]


def test_a_mask_is_what_lies_above_the_threshold_in_raw(line, image):
    options = {"category": "half", "content": image(40, 24)}
    pictures = {
        kind: picture_of(line.detect(**options, heatmap=kind).json()["results"][0])
        for kind in ("raw", "mask", "map")
    }
    assert {kind: (p.shape, p.dtype) for kind, p in pictures.items()} == {
        "raw": ((24, 40), np.uint16),
        "mask": ((24, 40), np.uint8),
        "map": ((24, 40), np.uint8),
    }
    assert np.array_equal(pictures["mask"], np.where(pictures["raw"] > 32767, 255, 0))
    assert set(np.unique(pictures["mask"])) == {0, 255}
    assert np.abs(pictures["raw"] / 65535 - pictures["map"] / 255).max() < 1 / 255


PART = {"part_id": "cell-42", "station": "EL-3", "job_id": "lot/17"}


@pytest.mark.parametrize("way", ["query", "form", "json"])
def test_the_parts_own_fields_come_back(line, image, way):
    meta = {"exposure_ms": 40, "tags": ["a", None], "ü": {"deep": [1.5]}}
    text = {**PART, "category": "bolt", "meta": json.dumps(meta)}
    if way == "query":
        response = line.post("/detect", params=text, content=image())
    elif way == "form":
        response = line.post("/detect", data=text, files={"file": ("x.png", image())})
    else:
        body = as_json(image(), **PART, meta=meta, category="bolt")
        response = line.post("/detect", json=body)
    (result,) = response.json()["results"]
    assert {name: result[name] for name in (*PART, "meta")} == {**PART, "meta": meta}


def test_fields_come_back_with_an_image_that_failed(line, image):
    files = [("file", ("a.png", image())), ("file", ("b.png", b"text"))]
    response = line.post("/detect", data={**PART, "category": "bolt"}, files=files)
    failed = response.json()["results"][1]
    assert {name: failed[name] for name in PART} == PART
    assert failed["error"]["status"] == 415


@pytest.mark.parametrize(
    "fields",
    [
        {"part_id": "x" * 257},
        {"station": "a\nb"},
        {"job_id": "a\0b"},
        {"meta": "[]"},
        {"meta": "{"},
        {"meta": '{"a": NaN}'},
        {"meta": json.dumps({"a": "x" * 4096})},
        {"meta": '{"a":' * 1000 + "1" + "}" * 1000},
        {"priority": "urgent"},
        {"heatmpa": "map"},
    ],
)
def test_fields_have_bounds(line, image, problem, fields):
    params = {"category": "bolt", **fields}
    problem(line.post("/detect", params=params, content=image()), 422, "invalid-request")


@pytest.mark.parametrize(
    ("categories", "combined"),
    [
        (["bolt"], "OK"),
        (["nut"], "NG"),
        (["doubt"], "REVIEW"),
        (["ghost"], "UNDECIDED"),
        (["nothing"], "UNDECIDED"),
    ],
)
def test_every_answer_says_a_decision(line, image, categories, combined):
    response = line.detect(category=categories[0], content=image())
    assert response.headers["x-decision"] == combined
    assert response.json()["decision"] == combined
    undecided = combined == "UNDECIDED"
    assert response.headers.get("x-fail-safe") == ("STOP" if undecided else None)
    assert response.json().get("fail_safe") == ("STOP" if undecided else None)


def test_an_image_that_failed_keeps_its_part_from_being_ok(line, image):
    files = [("file", (name, content)) for name, content in (("a", image()), ("b", b"text"))]
    response = line.post("/detect?category=bolt", files=files)
    assert response.status_code == 200
    body = response.json()
    assert (body["decision"], body["fail_safe"]) == ("UNDECIDED", "STOP")
    assert [result["decision"] for result in body["results"]] == ["OK", "UNDECIDED"]
    assert [result["fail_safe"] for result in body["results"]] == [None, "STOP"]
    assert response.headers["x-decision"] == "UNDECIDED"
    response = line.post("/detect?category=nut", files=files)
    assert response.headers["x-decision"] == response.json()["decision"] == "NG"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/detect?category=bolt&heatmap=x", {}),
        ("/nowhere/detect", {}),
        ("/detect/", {}),
        ("/detect", {"content-type": "multipart/form-data"}),
        ("/v2/models/bolt/infer", {}),
    ],
)
def test_whatever_refuses_an_inspection_says_undecided(line, image, path, headers):
    response = line.post(path, content=image(), headers=headers, follow_redirects=False)
    assert response.status_code >= 400
    assert response.headers["x-decision"] == "UNDECIDED"
    assert response.headers["x-fail-safe"] == "STOP"
    assert response.json()["decision"] == "UNDECIDED"


def test_a_mistake_of_ours_is_never_ok(line, image):
    response = line.detect(category="crash", content=image())
    assert response.status_code == 500
    assert response.headers["x-decision"] == response.json()["decision"] == "UNDECIDED"


def test_a_mistake_of_ours_has_the_headers_of_every_answer(line, image, monkeypatch):
    monkeypatch.setattr("service.api.detect.routes.options_of", lambda _: 1 / 0)
    response = line.detect(category="bolt", content=image())
    assert (response.status_code, response.headers["x-decision"]) == (500, "UNDECIDED")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_what_inspects_nothing_says_no_decision(line):
    for path in ("/livez", "/nowhere", "/detect"):
        response = line.get(path)
        assert "x-decision" not in response.headers
        assert "decision" not in response.json()


@pytest.mark.parametrize(
    "given", ["0", "-1", "abc", "1e3", "", "nan", "inf", "0x10", "1" * 10, "0.0", "\u0663"]
)
def test_an_impossible_time_is_refused(line, image, problem, given):
    headers = {"X-Request-Timeout-Ms": given.encode()}
    response = line.post("/detect?category=bolt", content=image(), headers=headers)
    problem(response, 422, "invalid-request")


def test_time_and_priority_reach_the_job(line, image):
    headers = {"X-Request-Timeout-Ms": "1500.5", "X-Priority": "HIGH"}
    assert line.post("/detect?category=bolt", content=image(), headers=headers).status_code == 200
    job = line.jobs[-1]
    assert job.priority.name == "HIGH"
    assert 0 < job.deadline - job.queued_at <= 1.5005
    headers["X-Request-Timeout-Ms"] = "999999999"
    body = as_json(image(), category="bolt", priority="normal")
    assert line.post("/detect", json=body, headers=headers).status_code == 200
    job = line.jobs[-1]
    assert job.priority.name == "NORMAL"
    assert 29 < job.deadline - job.queued_at <= 30


def test_an_impossible_priority_is_refused(line, image, problem):
    response = line.post("/detect?category=bolt", content=image(), headers={"X-Priority": "x"})
    problem(response, 422, "invalid-request")


def test_what_is_late_is_undecided(line, image, problem):
    headers = {"X-Request-Timeout-Ms": "100"}
    response = line.post("/detect?category=silence", content=image(), headers=headers)
    body = problem(response, 504, "deadline-exceeded")
    assert body["decision"] == "UNDECIDED"
    assert line.jobs[-1].future.cancelled()


def test_one_late_image_takes_no_other_along(line, image):
    files = [("file", (str(i), image(8 + i, 8))) for i in range(3)]
    headers = {"X-Request-Timeout-Ms": "400"}
    line.silent_widths = {9}
    response = line.post("/detect?category=bolt", files=files, headers=headers)
    decisions = [result["decision"] for result in response.json()["results"]]
    assert decisions == ["OK", "UNDECIDED", "OK"]


@pytest.mark.parametrize("path", ["/detect", "/detect/batch"])
def test_pictures_of_one_answer_are_bounded(line, path):
    plain = BytesIO()
    Image.new("L", (100, 100)).save(plain, "PNG")
    options = {"category": "bolt", "heatmap": "raw"}
    single = line.post("/detect", json=as_json(plain.getvalue(), **options)).json()["results"][0]
    line.app.state.body_budget.max_bytes = 2 * len(single["heatmap"])
    body = as_json(*[plain.getvalue()] * 3, **options)
    response = line.post(path, json=body)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert sorted(result["decision"] for result in results) == ["OK", "OK", "UNDECIDED"]
    (error,) = [result["error"] for result in results if result["error"]]
    assert (error["status"], error["type"]) == (413, "urn:mambaad:problem:answer-too-large")
    assert response.headers["x-decision"] == "UNDECIDED"
    assert line.app.state.body_budget.held_bytes == 0


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v2/health/live"])
def test_probes_may_ask_for_the_head_alone(line, path):
    async def scenario(client):
        return await client.get(path), await client.head(path)

    full, head = line.run(scenario)
    assert (head.status_code, head.headers["content-type"]) == (
        full.status_code, full.headers["content-type"],
    )  # fmt: skip
