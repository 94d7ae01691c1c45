"""The log line of a request to a running service."""

import json
import logging

import pytest

from service.telemetry.logs import FIELDS, JsonFormatter, TextFormatter


@pytest.fixture
def line_of(server, eventually):
    """Return the only record of the access log for a response; it is written after the answer."""

    def find(response):
        sought = response.headers["x-request-id"]
        (record,) = eventually(
            lambda: [logged for logged in lines(server) if request_id(logged) == sought]
        )
        return record

    return find


def lines(server):
    return [record for record in list(server.log) if record.name == "service.access"]


def request_id(record):
    return getattr(record, FIELDS)["request_id"]


def test_it_tells_what_became_of_the_part(client, line_of, image):
    query = {"category": "nut", "part_id": "A-17"}
    headers = {"X-API-Key": "hunter2", "Authorization": "Bearer hunter2"}
    response = client.post("/detect", params=query, content=image(), headers=headers)
    assert response.status_code == 200, response.text
    record = line_of(response)
    line = json.loads(JsonFormatter().format(record))
    assert (line["logger"], line["message"]) == ("service.access", "POST /detect")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/detect", 200)
    assert (line["category"], line["decision"], line["model"]) == ("nut", "NG", "parts/1")
    assert 0.5 < line["score"] <= 1
    assert line["part_id"] == "A-17"
    assert line["duration_ms"] > 0
    for formatter in (JsonFormatter(), TextFormatter()):
        text = formatter.format(record)
        assert "\n" not in text
        assert "hunter2" not in text
        assert len(text) < 1000  # so it contains no image


def test_it_leaves_out_the_query(client, line_of, image):
    response = client.post("/detect?category=nut&token=hunter2", content=image())
    line = JsonFormatter().format(line_of(response))
    assert json.loads(line)["problem"] == "invalid-request"
    assert "hunter2" not in line


def test_it_tells_of_each_image_where_there_are_several(client, line_of, image):
    files = [("file", ("a.png", image())), ("file", ("b.png", b"no image"))]
    response = client.post("/detect", params={"category": "bolt"}, files=files)
    line = json.loads(JsonFormatter().format(line_of(response)))
    assert line["image_count"] == 2
    outcomes = {image_line.get("problem", image_line["decision"]) for image_line in line["images"]}
    assert outcomes == {"OK", "unsupported-image"}


def test_it_names_the_problem_which_is_counted_once(client, server, line_of):
    rejected = "mambaad_requests_rejected_total"
    before = server.metric(rejected, reason="unknown-category")
    response = client.post("/detect", params={"category": "nonesuch"}, content=b"x")
    line = json.loads(JsonFormatter().format(line_of(response)))
    assert (line["status"], line["problem"]) == (404, "unknown-category")
    assert server.metric(rejected, reason="unknown-category") == before + 1
    response = client.get("/no/such/route")
    assert json.loads(JsonFormatter().format(line_of(response)))["problem"] == "http-404"


def test_probes_leave_no_line_at_info(client, server, line_of):
    assert logging.getLogger("service").level == logging.INFO
    probes = [client.get(path) for path in ("/livez", "/readyz", "/metrics")]
    line_of(client.get("/categories"))
    logged = {request_id(record) for record in lines(server)}
    assert not logged & {probe.headers["x-request-id"] for probe in probes}
