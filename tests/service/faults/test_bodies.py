"""Malicious bodies and names: too much, too slow, too many, too deep."""

import json
import threading
import time
import zlib

import pytest

CHUNKED = (
    b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
)
INFER = "/v2/models/bolt/infer"


def gzip_zeros(count: int) -> bytes:
    writer = zlib.compressobj(1, wbits=31)
    piece = bytes(2**20)
    return b"".join([*(writer.compress(piece) for _ in range(count // 2**20)), writer.flush()])


def refused(received: bytes, status: int, slug: str) -> dict[str, object]:
    """Check that the response is this problem, for an inspection; return it."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received[:500]
    assert b"application/problem+json" in head
    problem: dict[str, object] = json.loads(body)
    assert str(problem["type"]).endswith(f":{slug}")
    assert problem.get("decision") != "OK"
    return problem


def everything(client) -> bytes:
    received = b""
    try:
        while piece := client.recv(2**16):
            received += piece
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize("path", [INFER, "/detect?category=bolt", "/detect/batch"])
def test_a_gzip_bomb_takes_no_memory(live, image, problem, path):
    bomb = gzip_zeros(512 * 2**20)
    assert len(bomb) < 4_000_000
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    with live.client() as client, live.bystander(image()), live.memory_within(64):
        for _ in range(3):
            response = client.post(path, content=bomb, headers=headers)
            assert problem(response, 413, "body-too-large")["decision"] == "UNDECIDED"


def test_a_chunked_body_without_an_end_is_refused_at_the_limit(live, image):
    piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
    with live.bystander(image()), live.memory_within(64), live.connect(CHUNKED) as client:
        for _ in range(500):  # four times the limit, and no end
            client.sendall(piece)
        received = client.recv(2**16)
        while b"}" not in received:
            received += client.recv(2**16)
        assert refused(received, 413, "body-too-large")["decision"] == "UNDECIDED"


def test_a_million_chunks_of_a_byte_are_one_body(live, image):
    def send() -> None:
        client.sendall(b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n")

    with (
        live.bystander(image()) as seconds,
        live.memory_within(64),
        live.connect(CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as client,
    ):
        sending = threading.Thread(target=send)
        sending.start()
        received = everything(client)
        sending.join()
    refused(received, 415, "unsupported-image")
    assert len(seconds) > 1
    assert max(seconds) < 10


def test_headers_and_bodies_that_trickle_are_cut(live, image):
    """Sending a byte now and then does not extend their time."""
    slow = [
        live.connect(b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "),
        live.connect(CHUNKED, b"5\r\nh"),
        live.connect(CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 99999")),
    ]
    answers: dict[int, bytes] = {}
    readers = [
        threading.Thread(target=lambda i=i: answers.update({i: everything(slow[i])}))
        for i in range(3)
    ]
    started = time.monotonic()
    with live.bystander(image()):
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            for client in slow[::2]:
                try:
                    client.sendall(b"a")
                except OSError:
                    continue
            time.sleep(0.1)
            assert time.monotonic() < started + 30
    for client in slow:
        client.close()
    refused(answers[0], 408, "headers-too-slow")
    for i in (1, 2):
        assert refused(answers[i], 408, "body-too-slow")["decision"] == "UNDECIDED"


@pytest.mark.parametrize("path", ["/detect", "/detect/batch"])
@pytest.mark.parametrize("named", [b'name="file"; filename="x.png"', b'name="part_id"'])
def test_ten_thousand_parts_are_refused(live, image, problem, path, named):
    part = b"--x\r\nContent-Disposition: form-data; " + named + b"\r\n\r\n1\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with live.client() as client, live.bystander(image()), live.memory_within(64):
        response = client.post(path, content=part * 10_000 + b"--x--\r\n", headers=headers)
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["decision"] == "UNDECIDED"
    assert len(response.content) < 4000


@pytest.mark.parametrize(
    "parameters",
    [
        "charset=undefined",
        "charset=idna",
        "charset=\0",
        "charset=zlib",
        "charset=utf-7",
        "charset=" + "u" * 5000,
        "boundary=\xff",
        "boundary=",
    ],
)
def test_a_form_of_an_impossible_type_is_refused(live, image, parameters):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="category"\r\n\r\n\xff\xfe+AAA-\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\n'
        b"%b\r\n--x--\r\n"
    ) % image()
    head = f"multipart/form-data; boundary=x; {parameters}".encode("latin-1")
    length = b"Content-Length: %d\r\nConnection: close" % len(body)
    kind = b"Content-Type: %b\r\n" % head
    with live.connect(CHUNKED.replace(b"Transfer-Encoding: chunked", kind + length), body) as sent:
        received = everything(sent)
    status = int(received.split(maxsplit=2)[1])
    assert status in {400, 415}, received
    assert b'"decision":"UNDECIDED"' in received or b"not HTTP" in received


DEEP = b"[" * 1_000_000
JSONS = [
    (DEEP, 400),
    (b'{"category": "bolt", "images": ' + DEEP, 400),
    (b'{"a":' * 300_000, 400),
    (b'{"category": "bolt", "images": [{"content": "\\u0000"}]}', 422),
    (b'{"category": "bo\\u0000lt", "images": [{"content": "AAAA"}]}', 404),
    (b'{"category": "bolt", "images": [{"content": "not base64!"}]}', 422),
    (b'{"category": "bolt", "images": [{"content": "AAA"}]}', 422),
    (b'{"category": "bolt\x00"}', 400),
    (b'{"category": 1e400, "images": []}', 422),
    (b'{"category": ' + b"9" * 100_000 + b"}", 400),
    (b"\x00" * 1000, 400),
    (b"\xff\xfe\x00{", 400),
    (b'{"category": "\\ud800", "images": [{"content": "AAAA"}]}', 400),
]


@pytest.mark.parametrize(("body", "status"), JSONS, ids=range(len(JSONS)))
@pytest.mark.parametrize("path", ["/detect", "/detect/batch"])
def test_json_that_is_deep_odd_or_no_json(live, path, body, status):
    with live.client() as client:
        response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    # A faulty image of a batch is reported in its own place.
    of_an_image = path == "/detect/batch" and b"content" in body and status != 400
    assert response.status_code == (200 if of_an_image else status), response.text
    answer = response.json()
    assert answer["decision"] == "UNDECIDED"
    assert [result["decision"] for result in answer.get("results", [])] == [
        "UNDECIDED"
    ] * of_an_image
    if of_an_image:
        assert answer["results"][0]["error"]["status"] == status


NAMES = {
    "../x": "..%2Fx",
    "encoded dots": "%2e%2e",
    "encoded twice": "%252e%252e%252fx",
    "absolute": "%2Fetc%2Fpasswd",
    "unicode": "%E6%A3%80%E6%9F%A5%F0%9F%94%A9",
    "turned letters": "%E2%80%AEtlob",
    "NUL": "bolt%00",
    "no UTF-8": "%ff%fe",
    "a line": "bolt%0d%0aX-Evil:%201",
    "long": "b" * 20_000,
    "backslash": "..%5C..%5Cx",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_looked_up_and_never_paths(live, image, name, live_store):
    content = image()
    asks = [
        ("POST", f"/detect?category={name}", content),
        ("POST", f"/v2/models/{name}/infer", b"{}"),
        ("GET", f"/v2/models/{name}", None),
        ("GET", f"/v2/models/bolt/versions/{name}", None),
        ("POST", f"/2020-11-20/projects/{name}/models/1/detect", content),
        ("POST", f"/2020-11-20/projects/bolt/models/{name}/detect", content),
        ("POST", f"/models/{name}/1/load", None),
        ("POST", f"/models/parts/{name}/unload", None),
        ("POST", f"/categories/{name}/warm", None),
        ("GET", f"/categories/{name}/threshold", None),
    ]
    with live.client() as client:
        for method, path, body in asks:
            response = client.request(method, path, content=body)
            assert response.status_code in {400, 404, 405, 422}, (path[:100], response.text)
            assert str(live_store) not in response.text
            assert "root:" not in response.text
            assert "x-evil" not in response.headers
            assert response.headers.get("x-decision", "UNDECIDED") == "UNDECIDED"


def test_an_empty_category_is_none(live, image, problem):
    with live.client() as client:
        for response in (
            client.post("/detect?category=", content=image()),
            client.post("/detect", data={"category": ""}, files={"file": image()}),
            client.post("/detect", json={"category": "", "images": [{"content": "AAAA"}]}),
        ):
            assert response.status_code in {404, 422}
            assert response.json()["decision"] == "UNDECIDED"


@pytest.mark.parametrize(
    "shape",
    [[-1], [0], [1, -48, -96, 3], [2**31, 2**33], [2**63], [2**64, 2**64], [10**30], [1] * 100],
    ids=str,
)
@pytest.mark.parametrize("binary", [True, False])
def test_negative_and_overflowing_shapes_are_refused(live, image, shape, binary):
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape}
    tensor |= {"parameters": {"binary_data_size": 12}} if binary else {"data": [1] * 12}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    with live.client() as client, live.memory_within(64):
        response = client.post(INFER, content=head + bytes(12) * binary, headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["error"] == response.json()["detail"]
    assert response.json()["decision"] == "UNDECIDED"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v2/health/live",
                                  "/v2/health/ready", "/v2/models/bolt/ready"])  # fmt: skip
def test_a_probe_by_head_is_answered_without_a_body(live, path):
    with live.connect(b"HEAD %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode()) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        received = everything(client)
    head, _, next_answer = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), received
    assert int(head.lower().partition(b"content-length: ")[2].split()[0]) > 0
    assert next_answer.startswith(b"HTTP/1.1 200 ")  # the next answer follows at once
