"""The routes over real HTTP: valid requests, and every kind of invalid one."""

import base64
import json
import threading
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

STAGES = {"decode", "preprocess", "queue", "encoder", "decoder", "anomaly_map", "decision", "total"}


def form(*contents: bytes, name: str = "file") -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(name, (f"part-{i}.png", content, "image/png")) for i, content in enumerate(contents)]


def post(client, *contents, category="bolt", **fields):
    return client.post("/detect", files=form(*contents), data={"category": category, **fields})


def heatmap_of(result) -> Image.Image:
    picture = Image.open(BytesIO(base64.b64decode(result["heatmap"], validate=True)))
    assert picture.format == "PNG"
    return picture


def test_a_form_is_inspected(client, image):
    response = post(client, image(96, 48), category="nut")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    (result,) = response.json()["results"]
    assert (result["filename"], result["category"]) == ("part-0.png", "nut")
    assert (result["decision"], result["threshold"]) == ("NG", -10.0)
    assert result["raw_score"] > -10
    assert 0.5 < result["score"] < 1
    assert result["model"] == {"name": "parts", "version": "1"}
    assert result["engine"] == "torch, float32"
    assert result["image"] == {"width": 96, "height": 48}
    assert result["heatmap"] is None
    assert result["error"] is None
    assert set(result["timings_ms"]) == STAGES
    assert result["timings_ms"]["total"] >= result["timings_ms"]["encoder"] > 0


def test_regions_lie_in_the_input_image(client, image):
    (result,) = post(client, image(96, 48), category="nut").json()["results"]
    region = result["regions"][0]
    assert set(region) == {"x", "y", "width", "height", "area_px", "peak", "peak_score"}
    assert region["x"] >= 0
    assert region["y"] >= 0
    assert region["x"] + region["width"] <= 96
    assert region["y"] + region["height"] <= 48
    assert region["width"] > 64  # wider than the network's input, so in the image's pixels
    assert 0.5 < region["peak_score"] < 1
    (result,) = post(client, image(96, 48), category="bolt").json()["results"]
    assert (result["decision"], result["regions"]) == ("OK", [])


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", None, "a/b"])
def test_a_raw_body_is_inspected_whatever_its_type_says(client, image, content_type):
    headers = {"content-type": content_type} if content_type else {}
    response = client.post("/detect?category=bolt", content=image(), headers=headers)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    assert (result["filename"], result["decision"]) == (None, "OK")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WebP"])
def test_every_format_is_taken(client, image, kind):
    assert post(client, image(kind=kind)).status_code == 200


def test_several_files_are_answered_in_their_order(client, image):
    contents = [image(10 + i, 20, seed=i) for i in range(5)]
    results = post(client, *contents).json()["results"]
    assert [result["image"]["width"] for result in results] == [10, 11, 12, 13, 14]
    assert [result["filename"] for result in results] == [f"part-{i}.png" for i in range(5)]


def test_an_image_has_the_same_score_alone_and_among_others(client, image):
    contents = [image(seed=i) for i in range(4)]
    alone = [post(client, content).json()["results"][0]["raw_score"] for content in contents]
    together = [result["raw_score"] for result in post(client, *contents).json()["results"]]
    assert together == pytest.approx(alone, rel=1e-4)
    assert len(set(alone)) == 4


@pytest.mark.parametrize("size", [(96, 48), (31, 77), (1, 1), (2000, 2)])
def test_a_map_has_the_geometry_of_the_image(client, image, size):
    (result,) = post(client, image(*size), heatmap="map").json()["results"]
    picture = heatmap_of(result)
    assert (picture.size, picture.mode) == (size, "L")
    assert result["timings_ms"]["heatmap"] > 0


def test_an_overlay_has_the_geometry_of_the_image(client, image):
    (result,) = post(client, image(96, 48), heatmap="overlay").json()["results"]
    picture = heatmap_of(result)
    assert (picture.size, picture.mode) == ((96, 48), "RGB")


def test_an_overlay_outlines_the_regions(client, image):
    source = image(96, 48)
    (ng,) = post(client, source, category="nut", heatmap="overlay").json()["results"]
    picture = np.asarray(heatmap_of(ng))
    box = ng["regions"][0]
    edge = picture[box["y"], box["x"] + 2 : box["x"] + box["width"] - 2]
    assert (edge == 255).all()


def test_a_map_is_the_pixel_score_as_grey(client, image):
    source = image(64, 64)
    (ok,) = post(client, source, category="bolt", heatmap="map").json()["results"]
    (ng,) = post(client, source, category="nut", heatmap="map").json()["results"]
    assert np.asarray(heatmap_of(ok)).max() < 127  # below the pixel threshold everywhere
    assert np.asarray(heatmap_of(ng)).min() > 128
    peak = ng["regions"][0]["peak"]
    value = heatmap_of(ng).getpixel((peak["x"], peak["y"]))
    assert value == pytest.approx(255 * ng["regions"][0]["peak_score"], abs=1.5)


def test_an_image_on_its_side_is_answered_upright(client):
    encoded, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(encoded, "JPEG", exif=exif)
    (result,) = post(client, encoded.getvalue(), heatmap="map").json()["results"]
    assert result["image"] == {"width": 40, "height": 60}
    assert heatmap_of(result).size == (40, 60)


def test_the_form_goes_before_the_query(client, image):
    files = form(image())
    response = client.post(
        "/detect?category=bolt&heatmap=overlay",
        files=files,
        data={"category": "nut", "heatmap": "none"},
    )
    (result,) = response.json()["results"]
    assert (result["category"], result["heatmap"]) == ("nut", None)
    response = client.post("/detect?category=bolt&heatmap=map", files=files)
    (result,) = response.json()["results"]
    assert result["category"] == "bolt"
    assert heatmap_of(result).size == (96, 48)


def test_one_bad_file_harms_nobody_else(client, image, server):
    bad = {1: image()[:200], 3: b"text", 4: image(300, 300)}
    contents = [bad.get(i, image(seed=i)) for i in range(5)]
    before = server.metric("mambaad_image_errors_total", problem="unsupported-image")
    response = post(client, *contents)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["decision"] for result in results] == [
        "OK",
        "UNDECIDED",
        "OK",
        "UNDECIDED",
        "UNDECIDED",
    ]
    errors = {i: results[i]["error"] for i in bad}
    assert [error["status"] for error in errors.values()] == [422, 415, 413]
    for i, error in errors.items():
        assert results[i]["filename"] == f"part-{i}.png"
        assert results[i]["score"] is None
        assert results[i]["regions"] == []
        assert error["request_id"] == response.headers["x-request-id"]
    after = server.metric("mambaad_image_errors_total", problem="unsupported-image")
    assert after - before == 1


def test_when_all_files_are_bad_the_request_is(client, image, problem):
    body = problem(post(client, image()[:200], b"text"), 422, "undecodable-image")
    assert [error["status"] for error in body["errors"]] == [422, 415]
    assert [error["filename"] for error in body["errors"]] == ["part-0.png", "part-1.png"]
    body = problem(post(client, b"text"), 415, "unsupported-image")
    assert "errors" not in body


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 422, "undecodable-image"),
        (b"\xff\xd8\xff" + bytes(100), 422, "undecodable-image"),
        (b"GIF89a" + bytes(100), 415, "unsupported-image"),
        (b"<svg/>", 415, "unsupported-image"),
        (bytes(200_001), 413, "body-too-large"),
    ],
)
def test_a_bad_image_is_refused_in_both_bodies(client, problem, content, status, slug):
    problem(post(client, content), status, slug)
    problem(client.post("/detect?category=bolt", content=content), status, slug)


def test_too_many_pixels_are_refused(client, image, problem):
    body = problem(post(client, image(201, 200, "BMP", mode="1")), 413, "image-too-large")
    assert "201 x 200" in body["detail"]


def test_an_unknown_category_lists_those_there_are(client, image, problem):
    body = problem(post(client, image(), category="botl"), 404, "unknown-category")
    assert "'botl'" in body["detail"]
    assert "bolt, ghost, nut" in body["detail"]


def test_a_request_beyond_its_limit_is_refused_unread(client, problem):
    contents = [bytes(150_000)] * 4
    problem(post(client, *contents), 413, "body-too-large")


@pytest.mark.parametrize("declared", [True, False])
def test_a_raw_body_is_counted_with_and_without_a_length(client, problem, declared):
    body = bytes(250_000)

    def chunks():
        yield from (body[i : i + 50_000] for i in range(0, len(body), 50_000))

    content = body if declared else chunks()
    problem(client.post("/detect?category=bolt", content=content), 413, "body-too-large")


def test_too_many_files_are_refused(client, image, problem):
    problem(post(client, *[image()] * 7), 400, "malformed-body")


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"'),
        ("multipart/form-data; boundary=x", b"--x\r\nno colon\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
    ],
)
def test_a_broken_form_is_refused(client, content_type, content):
    response = client.post("/detect", content=content, headers={"content-type": content_type})
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        (["file"], {}, "no category"),
        (["file"], {"category": ""}, "no category"),
        ([], {"category": "bolt", "file": "text"}, "no image"),
        (["image"], {"category": "bolt"}, "unknown form field"),
        (
            ["file"],
            {"category": "bolt", "heatmap": "rainbow"},
            "'none', 'map', 'overlay'",
        ),
        (["file", "category"], {}, "'category' is a file"),
    ],
)
def test_a_form_has_to_be_complete(client, image, problem, files, fields, message):
    parts = [(name, ("x.png", image(), "image/png")) for name in files]
    parts += [(name, (None, value.encode(), "text/plain")) for name, value in fields.items()]
    body = problem(client.post("/detect", files=parts), 422, "invalid-request")
    assert message in body["detail"]


def test_a_raw_body_needs_a_category(client, image, problem):
    problem(client.post("/detect", content=image()), 422, "invalid-request")


def test_a_wrong_query_is_a_problem_too(client, image, problem):
    response = client.post("/detect?category=bolt&heatmap=rainbow", content=image())
    body = problem(response, 422, "invalid-request")
    assert body["errors"][0]["field"] == "query.heatmap"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/detect", 405), ("DELETE", "/categories", 405)],
)
def test_http_errors_are_problems(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert path in response.json()["detail"]
    if status == 405:
        assert response.headers["allow"]


def test_nan_is_an_error_and_never_ok(client, image, problem):
    problem(post(client, image(), category="ghost"), 500, "non-finite-result")
    body = problem(post(client, image(), image(), category="ghost"), 500, "non-finite-result")
    assert len(body["errors"]) == 2


def test_a_damaged_checkpoint_is_not_served_and_reported(client, image, problem, weights):
    response = post(client, image(), category="rust")
    problem(response, 503, "checkpoint-unavailable")
    assert int(response.headers["retry-after"]) > 0
    problem(post(client, image(), category="cog"), 404, "unknown-category")
    for path in ("/categories", "/readyz"):
        body = client.get(path).json()
        refused = {entry["model"]["name"]: entry["reason"] for entry in body["refused"]}
        assert set(refused) == {"rotten", "unreadable"}
        assert "sha256" in refused["rotten"].lower()
        assert str(weights) not in client.get(path).text


def test_categories_say_what_serves_them(client):
    body = client.get("/categories").json()
    assert [entry["category"] for entry in body["categories"]] == ["bolt", "ghost", "nut"]
    bolt = body["categories"][0]
    assert bolt["model"] == {"name": "parts", "version": "1"}
    assert bolt["threshold"] == 10.0
    assert bolt["image_size"] == {"width": 64, "height": 64}
    assert "1 %" in bolt["promise"]
    assert bolt["license"] == "CC0-1.0"


def test_a_ready_service_says_so(client):
    assert client.get("/livez").json() == {"live": True}
    body = client.get("/readyz").json()
    assert (body["ready"], body["reasons"]) == (True, [])
    assert body["workers"] == [
        {"name": "cpu", "state": "ready", "reason": "ready", "waiting": 0, "node": None}
    ]


def test_the_api_is_described_for_people(client):
    assert "swagger" in client.get("/docs").text.lower()


@pytest.mark.parametrize("given", ["line-7:42", "a" * 128])
def test_a_request_keeps_its_id(client, given):
    assert client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "ä".encode(), "x" * 129, '"}\\n{'])
def test_an_id_that_is_not_safe_is_replaced(client, given):
    answered = client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert len(answered) == 32
    assert answered.isalnum()


def test_every_request_is_one_line_in_the_log(client, image, server, eventually):
    response = client.post(
        "/detect?category=botl", content=image(), headers={"X-Request-ID": "line-7"}
    )
    assert response.status_code == 404

    def lines():
        fields = [getattr(record, "fields", {}) for record in server.log]
        return [line for line in fields if line.get("request_id") == "line-7"]

    (line,) = eventually(lines, "a line in the log")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/detect", 404)
    assert line["duration_ms"] > 0
    json.dumps(line)


def test_metrics_count_what_happened(client, image, server):
    def now():
        return {
            "requests": server.metric("mambaad_requests_total", route="/detect", code="200"),
            "missing": server.metric("mambaad_requests_total", route="unmatched", code="404"),
            "NG": server.metric("mambaad_decisions_total", category="nut", decision="NG"),
            "scores": server.metric("mambaad_score_count", category="nut"),
            "encoder": server.metric(
                "mambaad_stage_duration_seconds_count", stage="encoder", category="nut"
            ),
            "batched": server.metric("mambaad_batch_size_sum", worker="cpu"),
            "time": server.metric("mambaad_request_duration_seconds_count", route="/detect"),
        }

    before = now()
    assert post(client, image(), image(), category="nut").status_code == 200
    assert client.get("/no/such/path").status_code == 404
    after = now()
    assert {name: after[name] - before[name] for name in before} == {
        "requests": 1,
        "missing": 1,
        "NG": 2,
        "scores": 2,
        "encoder": 2,
        "batched": 2,
        "time": 1,
    }
    assert server.metric("mambaad_worker_up", worker="cpu") == 1
    assert server.metric("mambaad_queue_capacity", worker="cpu") == 5
    assert server.metric("mambaad_checkpoints_refused") == 2


def test_many_clients_at_once_get_their_own_answers(server, image):
    answers = {}

    def ask(width):
        with server.client() as client:
            while (response := post(client, image(width, 30))).status_code == 503:
                threading.Event().wait(0.02)
            answers[width] = response.json()["results"][0]["image"]["width"]

    threads = [threading.Thread(target=ask, args=(width,)) for width in range(20, 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {width: width for width in range(20, 32)}


def test_a_half_sent_body_is_let_go(server):
    with httpx.Client(base_url=server.url, timeout=0.2) as client:

        def chunks():
            yield b"\x89PNG"
            threading.Event().wait(0.5)
            raise ConnectionAbortedError

        with pytest.raises((httpx.HTTPError, ConnectionAbortedError)):
            client.post("/detect?category=bolt", content=chunks())
    assert server.metric("mambaad_worker_up") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/detect?category=bolt&heatmap=map", 503),
        ("/2020-11-20/projects/bolt/models/latest/detect", 429),
    ],
)
def test_a_part_whose_answer_has_no_room_is_on_record_as_undecided(line, image, path, status):
    content = image()
    line.app.state.body_budget.max_inflight_bytes = len(content) + 10
    response = line.post(path, content=content)
    assert (response.status_code, response.headers["x-decision"]) == (status, "UNDECIDED")
    sample = line.metrics.registry.get_sample_value
    decided = {name: {"category": "bolt", "decision": name} for name in ("OK", "UNDECIDED")}
    assert sample("mambaad_decisions_total", decided["OK"]) is None
    assert sample("mambaad_decisions_total", decided["UNDECIDED"]) == 1
