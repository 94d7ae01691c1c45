"""Compares what two fronts answer, log, count and archive, ids and times apart.

compare([before, after], images)
"""

import json
import re
import time
from collections.abc import Mapping, Sequence

from benchmarks.fronting.fronts import Front
from benchmarks.fronting.postings import FORM, JSON, field, file_part, form, infer, post, text_of

_UNSTABLE = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "MOMENT"),
    (r'"(decode|preprocess|queue|heatmap|total|duration_ms)": ?[0-9.e-]+', r'"\1":MS'),
    (r"(?m)^(date|content-length): .*$", r"\1: -"),
    (r"-[0-9a-f]{16}-01", "-SPAN-01"),
)
_KNOWN_ID = "0192f0c1-2c3a-7def-8123-456789abcdef"
_COUNTED = (
    "requests_total", "requests_rejected", "decisions", "score", "routed", "image_errors",
    "idempotent", "inspections_recorded", "observer_errors",
)  # fmt: skip
"""Metrics that requests alone change, without `mambaad_`."""
_REFUSALS_S = 3.0
"""Longer than refused parts are gathered."""
_TEXT = b"no image at all"


def compare(before: Front, after: Front, images: Mapping[str, bytes]) -> int:
    """Send the same requests to both; return their number. Raises `AssertionError`."""
    messages = _messages(images)
    for message in messages:
        answers = [stable(front.answer(message)) for front in (before, after)]
        assert answers[0] == answers[1], f"{message[:300]!r}:\n{answers[0]}\n{answers[1]}"
    schemas = [front.answer(_get("/openapi.json")) for front in (before, after)]
    assert stable(schemas[0]) == stable(schemas[1]), "another /openapi.json"
    time.sleep(_REFUSALS_S)
    archived = [_archived(front) for front in (before, after)]
    assert archived[0] == archived[1], _first_difference(*archived)
    logs = [[stable(line) for line in _log_of(front)] for front in (before, after)]
    assert logs[0] == logs[1], _first_difference(*logs)
    metrics = [_metrics_of(front) for front in (before, after)]
    assert metrics[0] == metrics[1], _first_difference(*metrics)
    return len(messages)


def _messages(images: Mapping[str, bytes]) -> list[bytes]:
    (good, good_image), (bad, bad_image) = images.items()
    fields = field("category", good) + field("part_id", "cell 42") + field("meta", '{"a": [1.50]}')
    two = form(fields + file_part("ä.png", good_image) + file_part("b.png", _TEXT))
    many = form(
        field("images", json.dumps([{"category": name} for name in (good, bad, "unknown", good)]))
        + b"".join(file_part(f"{i}.png", image) for i, image in enumerate([good_image] * 4))
    )
    contents = [{"content": text_of(image)} for image in (good_image, bad_image, _TEXT)]
    part = json.dumps({"category": bad, "station": "s1", "images": contents}).encode()
    batch = json.dumps({"category": good, "images": contents * 5}).encode()
    raw, again = (
        f"/detect?category={good}",
        f"Idempotency-Key: k1\r\nX-Inspection-ID: {_KNOWN_ID}\r\n",
    )
    traced = f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01\r\nX-Request-ID: mine\r\n"
    return [
        post(raw, good_image, "image/png"),
        post(f"/detect?category={bad}", bad_image, "image/png"),
        post(f"{raw}&part_id=x&meta=%7B%22b%22%3A1%7D&heatmap=map", good_image, "image/png"),
        post(f"/detect?category={bad}&heatmap=overlay", bad_image, ""),
        post(raw, good_image, "image/png", traced),
        post(raw, good_image, "image/png", "X-Priority: high\r\nX-Request-Timeout-Ms: 9000\r\n"),
        post(raw, good_image, "image/png", "X-Priority: highest\r\n"),
        post(raw, good_image, "image/png", "Sec-Fetch-Mode: cors\r\n"),
        *[post(raw, good_image, "image/png", again)] * 2,
        post(raw, bad_image, "image/png", f"X-Inspection-ID: {_KNOWN_ID}\r\n"),
        post(f"{raw}&told=NG&told_reason=late", good_image, "image/png"),
        post("/detect", two, FORM), post("/detect/batch", many, FORM),
        post("/detect", part, JSON), post("/detect/batch", batch, JSON),
        infer(good, good_image), infer(bad, bad_image), infer("unknown", good_image),
        post("/detect", good_image, "image/png"), post("/detect?category=none", good_image, ""),
        post(f"{raw}&category=other", good_image, ""), post(f"{raw}&unknown=1", good_image, ""),
        post(raw, _TEXT, "image/png"), post(raw, b"", "image/png"), post(raw, b"{}", "text/plain"),
        post("/detect", b"{", JSON), post("/detect/batch", b"[]", JSON), post("/detekt", b"", ""),
        post("/v2/models/x/infer", b"{", JSON), post("/detect/", good_image, ""), _get("/detect"),
        _get("/categories"), _get("/detect?x=1&x=2"),
    ]  # fmt: skip


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def stable(content: bytes | str) -> str:
    """Return an answer or a line without its ids and times."""
    text = content if isinstance(content, str) else content.decode("latin-1")
    for pattern, name in _UNSTABLE:
        text = re.sub(pattern, name, text)
    return text


def _log_of(front: Front) -> list[str]:
    """Return the lines of requests; a batch's images in one order, that of their ends varies."""
    lines = [json.loads(line) for line in front.log_file.read_text("utf-8").splitlines()]
    for line in lines:
        line.get("images", []).sort(key=json.dumps)
    return [json.dumps(line) for line in lines if line["logger"] == "service.access"]


def _archived(front: Front) -> list[str]:
    """Return the rows of inspections in one order; a share of good parts' files is kept by id."""
    answer = front.answer(_get("/inspections?limit=200")).partition(b"\r\n\r\n")[2]
    rows = json.loads(answer).get("inspections", [])
    for row in rows:
        for view in row["views"] if row["told"] == "OK" else ():
            view["image"] = view["map"] = None
    return sorted(stable(json.dumps(row)) for row in rows)


def _metrics_of(front: Front) -> list[str]:
    names = tuple(f"mambaad_{name}" for name in _COUNTED)
    lines = front.answer(_get("/metrics")).decode().splitlines()
    return [line for line in lines if line.startswith(names) and "_created" not in line]


def _first_difference(before: Sequence[str], after: Sequence[str]) -> str:
    for pair in zip(before, after, strict=False):
        if pair[0] != pair[1]:
            return "\n".join(pair)
    return f"{len(before)} and {len(after)} lines"
