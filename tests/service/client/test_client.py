"""The client: its requests and retries, and that no failure ever reads as OK."""

import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service import client as api
from service.client import AsyncClient, Client, Decision, Result, Retry
from service.client.addresses import Addresses
from service.client.exchange import Call, Pause, Send, exchange
from service.client.images import read_images
from service.identifiers import new_id, parse_id

ROOT = Path(__file__).parents[3]
NO_WAIT = Retry(attempts=3, backoff_s=0, max_backoff_s=0)
FOUND = {
    "filename": "a.png",
    "category": "bolt",
    "decision": "OK",
    "score": 0.1,
    "raw_score": 1.0,
    "threshold": 2.0,
    "regions": [
        {"x": 1, "y": 2, "width": 3, "height": 4, "area_px": 9, "peak": {"x": 2, "y": 3},
         "peak_score": 0.9},
    ],
    "model": {"name": "parts", "version": "1"},
    "timings_ms": {"total": 5.0},
    "image": {"width": 96, "height": 48},
    "heatmap": None,
    "error": None,
    "from_a_newer_service": [1, 2],
}  # fmt: skip
PROBLEM = {
    "type": "urn:mambaad:problem:queue-full",
    "title": "Too much is waiting",
    "status": 503,
    "detail": "128 images are waiting",
    "request_id": "r1",
}


def refused(status=503, after="1", kind="queue-full"):
    body = PROBLEM | {"status": status, "type": f"urn:mambaad:problem:{kind}"}
    return httpx.Response(status, json=body, headers={"Retry-After": after} if after else {})


def answered(*results):
    return httpx.Response(200, json={"results": list(results) or [FOUND]})


class Script:
    """A service with scripted answers that records its requests."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def client(self, **options):
        transport = httpx.MockTransport(self)
        return Client("http://line", transport=transport, **{"retry": NO_WAIT} | options)


def detect(script, **options):
    with script.client() as client:
        return client.detect(b"image", **{"category": "bolt"} | options)


def test_a_result_is_typed():
    (result,) = detect(Script(answered()))
    assert (result.decision, result.is_ok, result.is_ng) == (Decision.OK, True, False)
    assert (result.raw_score, result.threshold, result.model.version) == (1.0, 2.0, "1")
    assert (result.regions[0].peak.y, result.image.width) == (3, 96)
    assert result.answer["from_a_newer_service"] == [1, 2]
    assert result.require() is result


ASKED = {
    "category": "bolt", "heatmap": "map", "part_id": "P 7&ü", "station": "S", "job_id": "J",
    "priority": "high",
}  # fmt: skip


def test_what_is_asked_is_sent():
    script = Script(answered())
    transport = httpx.MockTransport(script)
    with Client("http://line/edge", api_key="secret", transport=transport) as client:
        client.detect(b"image", **ASKED, timeout_ms=1500, request_id="r7")
    (request,) = script.requests
    assert str(request.url).partition("?")[0] == "http://line/edge/detect"
    assert dict(request.url.params) == ASKED
    assert request.content == b"image"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["x-request-id"] == "r7"
    assert 1000 < int(request.headers["x-request-timeout-ms"]) <= 1500
    assert len(request.headers["idempotency-key"]) == 32


def test_each_part_has_an_id_that_its_retries_share():
    script = Script(refused(), answered(), answered())
    with script.client() as client:
        client.detect(b"image", category="bolt")
        client.detect(b"image", category="bolt")
    ids = [parse_id(request.headers["x-inspection-id"]) for request in script.requests]
    assert ids[0] == ids[1] != ids[2]


def test_an_answer_says_how_the_part_was_recorded():
    inspection_id = str(new_id())
    recorded = {"inspection_id": inspection_id, "archived": False, "replayed": True}
    response = httpx.Response(200, json={**recorded, "results": [FOUND, FOUND]})
    script = Script(response)
    with script.client() as client:
        results = client.detect([b"one", b"two"], category="bolt", inspection_id=inspection_id)
    assert script.requests[0].headers["x-inspection-id"] == inspection_id
    for result in results:
        assert (result.inspection_id, result.archived, result.replayed) == (
            inspection_id, False, True,
        )  # fmt: skip
    with script.client() as client, pytest.raises(ValueError, match="expected a UUIDv7"):
        client.detect(b"one", category="bolt", inspection_id="part 7")


def test_what_the_line_was_told_is_recorded():
    moment = datetime(2026, 11, 29, 10, 15, tzinfo=timezone(timedelta(hours=1)))
    told = {"told": "UNDECIDED", "told_reason": "no time", "captured_at": moment}
    answer = {"inspection_id": str(new_id()), "node": "line-1", "category": "bolt",
              "received_at": "2026-11-29T09:15:01Z", "origin": "late", "source": "client",
              "told": "UNDECIDED", "found": "NG", "problem": None}  # fmt: skip
    script = Script(refused(), *[httpx.Response(201, json=answer)] * 2)
    with script.client() as client:
        record = client.record(b"image", category="bolt", **told)
        client.record(category="bolt", part_id="7", meta={"n": 1}, **told)
        with pytest.raises(ValueError, match="with a time zone"):
            client.record(category="bolt", told="OK", captured_at=datetime(2026, 1, 1))
    assert (record.told, record.found, record.origin) == (Decision.UNDECIDED, Decision.NG, "late")
    _, posted, alone = script.requests
    assert (posted.url.path, posted.content, alone.content) == ("/inspections", b"image", b"")
    sent = {"category": "bolt", "told": "UNDECIDED", "told_reason": "no time",
            "captured_at": "2026-11-29T10:15:00+01:00"}  # fmt: skip
    assert dict(posted.url.params) == sent
    assert dict(alone.url.params) == sent | {"part_id": "7", "meta": '{"n": 1}'}
    assert parse_id(alone.headers["x-inspection-id"])


@pytest.mark.parametrize("images", [b"image", [b"image", b"other"]])
def test_several_images_and_meta_go_as_a_form(images):
    script = Script(answered(*[FOUND] * (1 if images == b"image" else 2)))
    with script.client() as client:
        results = client.detect(images, **ASKED, meta={"lot": 3})
    body = script.requests[0].content.decode()
    for field, value in {**ASKED, "meta": '{"lot": 3}'}.items():
        assert f'name="{field}"\r\n\r\n{value}\r\n' in body
    assert all(f'name="file"; filename="{result.filename}"' in body for result in results)
    assert [result.filename for result in results] == ["image-0", "image-1"][: len(results)]


def test_the_advice_for_a_part_that_is_undecided_is_told():
    (result,) = detect(Script(answered(FOUND | {"decision": "UNDECIDED", "fail_safe": "STOP"})))
    assert result.fail_safe == "STOP"
    response = httpx.Response(500, json=PROBLEM | {"status": 500, "fail_safe": "NG"})
    with pytest.raises(api.Problem) as caught:
        detect(Script(response))
    assert caught.value.fail_safe == "NG"


@pytest.mark.parametrize(
    ("change", "decision"),
    [
        ({"decision": "UNDECIDED"}, Decision.UNDECIDED),
        ({"decision": None}, Decision.UNDECIDED),
        ({"decision": "PERHAPS"}, Decision.UNDECIDED),
        ({"decision": None, "error": PROBLEM}, Decision.UNDECIDED),
        ({"decision": "NG"}, Decision.NG),
        ({"decision": "REVIEW"}, Decision.REVIEW),
    ],
)
def test_only_ok_is_ok(change, decision):
    (result,) = detect(Script(answered(FOUND | change)))
    assert result.decision is decision
    assert not result.is_ok


@pytest.mark.parametrize(
    "change",
    [
        {"error": PROBLEM},
        {"score": None},
        {"raw_score": None},
        {"category": "nut"},
        {"category": None},
        {"regions": "none"},
        {"heatmap": "%%%"},
    ],
)
def test_an_answer_that_contradicts_itself_is_no_answer(change):
    with pytest.raises(api.UnexpectedAnswer):
        detect(Script(answered(FOUND | change)))


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>a proxy</html>"),
        httpx.Response(200, json=[FOUND]),
        httpx.Response(200, json={"results": None}),
        httpx.Response(200, json={"results": []}),
        httpx.Response(200, json={"results": [FOUND, FOUND]}),
        httpx.Response(200, text='{"results": [{"score": NaN, "category": "bolt"}]}'),
        httpx.Response(200, content=b"x", headers={"Content-Encoding": "gzip"}),
    ],
)
def test_an_answer_of_another_kind_is_no_answer(response):
    with pytest.raises(api.UnexpectedAnswer):
        detect(Script(response))


def test_a_result_is_neither_true_nor_false():
    (result,) = detect(Script(answered()))
    with pytest.raises(TypeError, match="is_ok"):
        bool(result)
    with pytest.raises(TypeError, match="is_ok"):
        all([result])


def test_an_image_that_failed_among_others_says_why():
    failed = {"category": "bolt", "filename": "b.png", "error": PROBLEM}
    script = Script(answered(FOUND, failed))
    with script.client() as client:
        good, bad = client.detect([b"one", b"two"], category="bolt")
    assert good.is_ok
    assert not bad.was_inspected
    with pytest.raises(api.Unavailable, match="128 images"):
        bad.require()


def test_without_a_decision_and_without_a_reason_there_is_an_error_too():
    (result,) = detect(Script(answered({"category": "bolt"})))
    with pytest.raises(api.UnexpectedAnswer, match="not inspected"):
        result.require()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "malformed-body", api.InvalidRequest),
        (401, "unauthenticated", api.NotAllowed),
        (403, "forbidden", api.NotAllowed),
        (404, "unknown-category", api.UnknownCategory),
        (409, "conflict", api.InvalidRequest),
        (413, "image-too-large", api.ImageRefused),
        (415, "unsupported-image", api.ImageRefused),
        (422, "undecodable-image", api.ImageRefused),
        (422, "invalid-request", api.InvalidRequest),
        (429, "rate-limited", api.Unavailable),
        (500, "non-finite-result", api.InspectionFailed),
        (502, "about:blank", api.InspectionFailed),
        (503, "queue-full", api.Unavailable),
        (504, "deadline-exceeded", api.DeadlineExceeded),
    ],
)
def test_a_problem_is_an_exception_of_its_own_kind(status, kind, error):
    with pytest.raises(api.Problem) as caught:
        detect(Script(refused(status, after="", kind=kind)))
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.request_id) == (status, "r1")
    assert caught.value.kind == (kind if ":" not in kind else "blank")


def test_an_error_without_a_problem_is_told_by_its_status():
    with pytest.raises(api.InspectionFailed, match=r"HTTP 502 \(502\): bad gateway"):
        detect(Script(httpx.Response(502, text="bad gateway")))


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("cut off"),
        refused(503, "0"),
        refused(429, "0"),
    ],
)
def test_what_is_safe_to_repeat_is_repeated_with_the_same_key(outcome):
    script = Script(outcome, answered())
    assert detect(script)[0].is_ok
    first, second = script.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (first.content, second.content) == (b"image", b"image")


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (httpx.ReadError("reset"), api.ConnectionLost),
        (httpx.RemoteProtocolError("cut off"), api.ConnectionLost),
    ],
)
def test_without_a_key_what_may_have_been_inspected_is_not_repeated(outcome, error):
    script = Script(outcome, answered())
    with pytest.raises(error):
        detect(script, idempotency_key="")
    assert len(script.requests) == 1
    assert "idempotency-key" not in script.requests[0].headers


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (refused(503, ""), api.Unavailable),
        (refused(500, ""), api.InspectionFailed),
        (refused(504, ""), api.DeadlineExceeded),
        (refused(422, ""), api.InvalidRequest),
        (httpx.ReadTimeout("silent"), api.DeadlineExceeded),
    ],
)
def test_nothing_else_is_repeated(outcome, error):
    script = Script(outcome, answered())
    with pytest.raises(error):
        detect(script)
    assert len(script.requests) == 1


def test_it_gives_up_after_the_last_attempt():
    script = Script(*[refused(after="0") for _ in range(3)])
    with pytest.raises(api.Unavailable):
        detect(script)
    assert not script.outcomes


def test_it_does_not_wait_past_its_deadline():
    script = Script(refused(after="60"), answered())
    with pytest.raises(api.Unavailable) as caught:
        detect(script, timeout_ms=5_000)
    assert caught.value.retry_after_s == 60
    assert len(script.requests) == 1


def test_each_attempt_has_what_the_ones_before_left():
    now = 0.0
    call = Call("POST", "/detect", 10.0, {"Idempotency-Key": "k"})
    work = exchange(
        call, Retry(3, backoff_s=1, max_backoff_s=1), Addresses("http://line"), clock=lambda: now
    )
    step = work.send(None)
    assert isinstance(step, Send)
    assert step.timeout_s == 10
    now = 4.0
    pause = work.send(refused(after="2"))
    assert pause == Pause(2.0)
    now = 6.0
    assert work.send(None).timeout_s == 4
    now = 10.5
    with pytest.raises(api.Unavailable):
        work.send(refused(after="1"))


def test_waits_double_and_are_spread():
    retry = Retry(attempts=9, backoff_s=1, max_backoff_s=5)
    assert [retry.wait_s(n, lambda: 1.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]
    assert retry.wait_s(2, lambda: 0.0) == 1
    with pytest.raises(ValueError, match="attempts"):
        Retry(attempts=0)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retry=NO_WAIT) as client:
        with pytest.raises(api.CannotConnect):
            client.detect(b"image", category="bolt")
        with pytest.raises(api.CannotConnect):
            client.ready()


def test_a_service_that_says_nothing_is_left_at_the_deadline():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}") as client,
        pytest.raises(api.DeadlineExceeded, match="200 ms"),
    ):
        client.detect(b"image", category="bolt", timeout_ms=200)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://line", "http://"])
def test_a_url_that_is_none(url):
    with pytest.raises(ValueError, match="expected a URL"):
        Client(url)


@pytest.mark.parametrize("timeout_ms", [0, -1, float("inf")])
def test_a_timeout_that_is_none(timeout_ms):
    with pytest.raises(ValueError, match="timeout_ms"):
        Client("http://line", timeout_ms=timeout_ms)


def pixels(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=dtype)


def opened(image):
    (file,) = read_images(image)
    return Image.open(BytesIO(file.content))


@pytest.mark.parametrize(
    ("shape", "mode"), [((4, 5), "L"), ((4, 5, 1), "L"), ((4, 5, 3), "RGB"), ((4, 5, 4), "RGBA")]
)
def test_an_array_is_sent_as_it_is(shape, mode):
    array = pixels(shape)
    image = opened(array)
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(shape), array)


def test_sixteen_bits_and_turned_arrays_too():
    deep = pixels((4, 5), np.uint16)
    np.testing.assert_array_equal(np.asarray(opened(deep)), deep)
    flipped = pixels((4, 5, 3))[:, :, ::-1]  # like OpenCV's
    np.testing.assert_array_equal(np.asarray(opened(flipped)), flipped)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_picture_is_sent_without_loss(mode):
    picture = Image.fromarray(pixels((4, 5, 3))).convert(mode)
    assert opened(picture).convert("RGB").tobytes() == picture.convert("RGB").tobytes()


def test_a_picture_keeps_its_orientation():
    written, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels((4, 6, 3))).save(written, "PNG", exif=exif)
    assert opened(Image.open(written)).getexif()[0x0112] == 6


def test_files_keep_their_names_and_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    named = read_images([tmp_path / "a.jpg", str(tmp_path / "a.jpg"), b"raw", memoryview(b"view")])
    assert [tuple(file) for file in named] == [
        ("a.jpg", b"jpeg"), ("a.jpg", b"jpeg"), ("image-2", b"raw"), ("image-3", b"view"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ([], ValueError),
        (3.5, TypeError),
        (None, TypeError),
        (np.zeros((2, 3, 4, 3), np.uint8), ValueError),
        (np.zeros((4, 4, 3), np.float32), TypeError),
        (np.zeros((4, 4, 3), np.uint16), TypeError),
        (Image.new("F", (4, 4)), ValueError),
        ("no-such-file.png", FileNotFoundError),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(image, error):
    script = Script()
    with script.client() as client, pytest.raises(error):
        client.detect(image, category="bolt")
    assert not script.requests


def test_a_heatmap_is_saved(tmp_path):
    content = b"\x89PNG and so on"
    (result,) = detect(Script(answered(FOUND | {"heatmap": base64.b64encode(content).decode()})))
    path = result.heatmap.save(tmp_path / "new" / "heat.png")
    assert path.read_bytes() == content


def test_readiness_and_categories():
    category = {
        "category": "bolt", "model": FOUND["model"], "threshold": 1.5, "promise": "at most 1 %",
        "image_size": {"width": 64, "height": 64}, "license": None, "notice": None,
    }  # fmt: skip
    script = Script(
        httpx.Response(503, json={"ready": False, "reasons": ["warming up"]}),
        httpx.Response(200, json={"ready": True, "reasons": []}),
        httpx.Response(200, json={"categories": [category], "refused": []}),
        refused(401, after="", kind="unauthenticated"),
    )
    with script.client() as client:
        waiting, ready = client.ready(), client.ready()
        assert (waiting.ready, waiting.reasons, ready.ready) == (False, ("warming up",), True)
        assert client.categories()[0].threshold == 1.5
        with pytest.raises(api.NotAllowed):
            client.categories()


def test_importing_it_takes_neither_the_network_nor_the_web_framework():
    heavy = "{'torch', 'fastapi', 'model.network', 'numpy', 'PIL'}"
    code = f"import sys, service.client; print(set(sys.modules) & {heavy} or None)"
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "None\n"


def test_against_the_service(server, image, tmp_path):
    path = tmp_path / "part.png"
    path.write_bytes(image())
    with Client(server.url) as client:
        assert client.ready().ready
        assert {"bolt", "nut"} <= {category.category for category in client.categories()}
        ok, again = client.detect([path, image(seed=1)], category="bolt", heatmap="overlay")
        assert ok.is_ok
        assert again.is_ok
        assert ok.filename == "part.png"
        with Image.open(ok.heatmap.save(tmp_path / "heat.png")) as picture:
            assert picture.size == (96, 48)
        (bad,) = client.detect(pixels((48, 96, 3)), category="nut")
        assert bad.is_ng
        with pytest.raises(api.UnknownCategory, match="bolt"):
            client.detect(path, category="botle")
        with pytest.raises(api.ImageRefused):
            client.detect(image()[:100], category="bolt")
        with pytest.raises(api.InspectionFailed):
            client.detect(path, category="ghost")
        good, cut = client.detect([path, image()[:100]], category="bolt")
        assert good.is_ok
        assert cut.decision is Decision.UNDECIDED
        assert isinstance(cut.error, api.ImageRefused)


@pytest.mark.parametrize("meta", [None, {"lot": [1, "ü"]}])
@pytest.mark.parametrize("heatmap", ["map", "overlay", "mask", "raw"])
def test_the_service_gives_back_what_a_part_is(server, image, heatmap, meta):
    part_facts = {"part_id": "P 7&ü", "station": "S", "job_id": "J", "meta": meta}
    with Client(server.url) as client:
        (result,) = client.detect(
            image(),
            category="bolt",
            heatmap=heatmap,
            priority="high",
            timeout_ms=20_000,
            **part_facts,
        )
    assert {name: getattr(result, name) for name in part_facts} == part_facts
    assert result.is_ok
    with Image.open(BytesIO(result.heatmap.content)) as picture:
        assert picture.size == (96, 48)


def test_a_repeated_key_brings_the_same_answer(server, image):
    with Client(server.url) as client:
        first, again, other = (
            client.detect(image(), category="bolt", idempotency_key=key)[0]
            for key in ("client-1", "client-1", "client-2")
        )
    assert first.timings_ms == again.timings_ms
    assert first.timings_ms != other.timings_ms


def test_the_services_deadline_is_told_by_the_service(server, image):
    with (
        server.stopped_worker(),
        Client(server.url) as client,
        pytest.raises(api.DeadlineExceeded) as caught,
    ):
        client.detect(image(), category="bolt", timeout_ms=300)
    assert caught.value.request_id


def test_the_async_client_against_the_service(server, image):
    async def several() -> list[list[Result]]:
        async with AsyncClient(server.url) as client:
            assert (await client.ready()).ready
            assert await client.categories()
            with pytest.raises(api.UnknownCategory):
                await client.detect(image(), category="botle")
            return await asyncio.gather(
                *(client.detect(image(seed=n), category="bolt") for n in range(3))
            )

    assert all(result.is_ok for (result,) in asyncio.run(several()))


def test_the_async_client_tries_again_too():
    script = Script(refused(after="0"), httpx.ReadError("reset"), answered())

    async def once():
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://line", transport=transport, retry=NO_WAIT) as client:
            return await client.detect(b"image", category="bolt")

    (result,) = asyncio.run(once())
    assert result.is_ok
    assert len(script.requests) == 3


@contextmanager
def dripping(*, head):
    """A server that sends its answer's head or body byte by byte, without end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                start = b"HTTP/1.1 200 OK\r\n" + (b"X-Slow: " if head else b"\r\n")
                connection.sendall(start)
                while not stopped.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            thread.join()


@pytest.mark.serial
@pytest.mark.parametrize("head", [True, False])
def test_an_answer_that_drips_does_not_outlast_the_deadline(head):
    started = time.monotonic()
    with dripping(head=head) as url, Client(url, timeout_ms=200) as client:
        with pytest.raises(api.DeadlineExceeded):
            client.detect(b"image", category="bolt")
        assert time.monotonic() - started < 2


@pytest.mark.serial
@pytest.mark.parametrize("head", [True, False])
def test_nor_does_it_where_one_awaits_it(head):
    async def scenario(url):
        async with AsyncClient(url, timeout_ms=200) as client:
            await client.detect(b"image", category="bolt")

    started = time.monotonic()
    with dripping(head=head) as url, pytest.raises(api.DeadlineExceeded):
        asyncio.run(scenario(url))
    assert time.monotonic() - started < 2


def test_a_batch_says_of_each_part_what_is_asked():
    script = Script(answered(FOUND, FOUND | {"category": "nut", "decision": "NG"}))
    parts = [b"one", api.Part(b"two", category="nut", part_id="7", meta={"n": 1}, heatmap="map")]
    with script.client() as client:
        first, second = client.detect_batch(parts, category="bolt", priority="high")
    assert (first.is_ok, second.is_ng) == (True, True)
    (request,) = script.requests
    assert request.url.path == "/detect/batch"
    assert request.headers["Idempotency-Key"]
    body = request.read()
    fields = json.loads(re.search(rb'name="images"\r\n\r\n(.*?)\r\n', body)[1])
    ids = [parse_id(of_part.pop("inspection_id")) for of_part in fields]
    assert ids[0] != ids[1]
    assert fields == [{}, {"category": "nut", "heatmap": "map", "part_id": "7", "meta": {"n": 1}}]
    assert b"one" in body
    assert b"two" in body


def test_a_part_of_a_batch_has_a_category_and_a_result_of_it():
    with Script().client() as client, pytest.raises(ValueError, match="part 1 of 2"):
        client.detect_batch([api.Part(b"a", category="bolt"), b"b"])
    parts = [api.Part(b"a", category="bolt"), api.Part(b"b", category="nut")]
    with Script(answered(FOUND, FOUND)).client() as client, pytest.raises(api.UnexpectedAnswer):
        client.detect_batch(parts)


def test_a_batch_of_the_service_is_read(line, image):
    async def scenario(client):
        transport = client._transport
        async with AsyncClient("http://127.0.0.1", transport=transport) as batch_client:
            parts = [image(), api.Part(image(), category="nut"), api.Part(b"text", part_id="c")]
            single = await batch_client.detect_batch([image()], category="bolt")
            return single, await batch_client.detect_batch(parts, category="bolt", heatmap="mask")

    (single,), (ok, ng, failed) = line.run(scenario)
    assert (single.is_ok, ok.is_ok, ng.is_ng) == (True, True, True)
    assert ok.heatmap.content.startswith(b"\x89PNG")
    assert (failed.decision, failed.part_id, failed.error.status) == ("UNDECIDED", "c", 415)


def test_what_is_no_url_is_a_mistake_of_the_callers():
    for url in ("http://a:b", "ftp://x", "x"):
        with pytest.raises(ValueError, match=r"URL"):
            Client(url)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_category_is_warmed_and_an_unknown_one_is_named(server, is_async):
    async def scenario():
        async with AsyncClient(server.url) as client:
            await client.warm("bolt", timeout_ms=60_000)
            with pytest.raises(api.UnknownCategory, match="nonesuch"):
                await client.warm("nonesuch")

    if is_async:
        asyncio.run(scenario())
        return
    with Client(server.url) as client:
        client.warm("bolt")
        with pytest.raises(api.UnknownCategory, match="nonesuch"):
            client.warm("nonesuch")
