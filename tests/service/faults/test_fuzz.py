"""Almost-HTTP bytes on raw sockets cause no traceback, and the next part is inspected."""

import random
import socket
import struct
import threading
from contextlib import suppress

import pytest

ROUNDS = 1200
ANSWERS = (b"HTTP/1.1 1", b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4", b"HTTP/1.1 501 ")
"""Statuses allowed for rubbish; 501 is for unknown methods and codings."""

TARGETS = (
    "/detect?category=bolt", "/detect", "/detect/batch", "/v2/models/bolt/infer", "/v2", "/livez",
    "/metrics", "/models", "/categories/bolt/threshold", "/openapi.json", "/nowhere", "*", "",
    "/2020-11-20/projects/bolt/models/1/detect", "//", "/%", "/%zz", "/\x00", "/\xff", "http://[",
    "/../../etc/passwd", "/detect?category=%00&category=%ff", "/detect#x", "/" + "a" * 40_000,
)  # fmt: skip
METHODS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW", "CONNECT", "")
VERSIONS = ("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.9", "http/1.1", "")
HEADERS = (
    "Host: 127.0.0.1", "Host: [", "Content-Length: 10", "Content-Length: -1", "Content-Length: 1e3",
    "Content-Length: 99999999999999999999", "Content-Length: 5", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity", "Content-Encoding: gzip",
    "Content-Encoding: br", "Content-Type: application/json", "Expect: 100-continue",
    "Content-Type: multipart/form-data; boundary=x", "Content-Type: multipart/form-data",
    "Content-Type: multipart/form-data; boundary=" + "x" * 5000, "Connection: close",
    "Connection: upgrade\r\nUpgrade: websocket", "Connection: keep-alive", "X-Request-ID: \x00\x01",
    "X-Request-ID: \xff" * 10, "X-Request-Timeout-Ms: nan", "X-Request-Timeout-Ms: -1", "no colon",
    "Idempotency-Key: \xe9", "Idempotency-Key: " + "k" * 3000, "traceparent: 00-zz", " folded: 1",
    "X-Priority: \x7f", "Accept-Encoding: gzip;q=nan", "Inference-Header-Content-Length: 7e9",
    "Origin: null", "Authorization: Bearer \xff", ": empty", "X-A: " + "a" * 70_000,
)  # fmt: skip
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
BODIES = (
    b"", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-5\r\nhello\r\n",
    b"5\r\nhelloworld\r\n", b"g\r\n", b"5;e=" + b"e" * 9000 + b"\r\nhello\r\n0\r\n\r\n", bytes(99),
    b"{" * 10, b"\x1f\x8b\x08\0\0\0\0\0", PART + b"cut", PART + b"\r\n--x--\r\n", PART * 500,
    b"--x\r\n\r\n--x--\r\n", b"--x\r\nContent-Disposition: \0\r\n\r\n", b"0\r\nTrailer: \0\r\n\r\n",
    b"\r\n\r\n\r\n", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20,
)  # fmt: skip
GOOD = b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b"


def request(dice: random.Random) -> bytes:
    """Something like a request, or several."""
    line = f"{dice.choice(METHODS)} {dice.choice(TARGETS)} {dice.choice(VERSIONS)}\r\n"
    headers = dice.sample(HEADERS, dice.randint(0, 5)) + ["Host: 127.0.0.1"] * dice.randint(0, 1)
    head = line + "".join(f"{header}\r\n" for header in headers) + "\r\n"
    return head.encode("latin-1") + dice.choice(BODIES)


def damaged(dice: random.Random, content: bytes) -> bytes:
    """Change, cut off or double some bytes, or none."""
    changed = bytearray(content)
    for _ in range(dice.choice((0, 0, 1, 4))):
        changed[dice.randrange(len(changed))] = dice.choice(b"\0\r\n: \xff" + bytes([65, 58, 48]))
    return bytes(changed[: dice.randint(1, len(changed))] if dice.random() < 0.2 else changed)


def leave(client: socket.socket, dice: random.Random) -> bytes:
    """End the connection like some client does; return the answers until then."""
    manner, received = dice.choice(("read", "half-close", "half-close", "reset", "close")), b""
    with suppress(OSError):
        if manner == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if manner == "half-close":
            client.shutdown(socket.SHUT_WR)
        if manner in {"read", "half-close"}:
            client.settimeout(0.2 if manner == "read" else 5)
            while len(received) < 10**6 and (piece := client.recv(2**16)):
                received += piece
    client.close()
    return received


def fuzz(live, dice: random.Random, good: bytes) -> list[bytes]:
    """Send rubbish, sometimes with a good request in one piece; return the answers."""
    answers = []
    for _ in range(ROUNDS // 4):
        sent = b"".join(damaged(dice, request(dice)) for _ in range(dice.choice((1, 1, 1, 3))))
        if dice.random() < 0.2:
            sent = good + sent
        client = live.connect()
        with suppress(OSError):  # the service may refuse before everything is sent
            middle = dice.randrange(len(sent))
            client.sendall(sent[:middle])
            client.sendall(sent[middle:])
        answers.append(leave(client, dice))
    return answers


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_rubbish_leaves_no_traceback_and_no_damage(live, image, seed):
    """The fixture then looks for tracebacks, and inspects good parts."""
    content = image()
    good = GOOD % (len(content), content)
    answers: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda number=number: answers.extend(
                fuzz(live, random.Random(1000 * seed + number), good)
            )
        )
        for number in range(4)
    ]
    files = live.front.num_fds()
    with live.bystander(content), live.memory_within(128):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == ROUNDS
    received = [answer for answer in answers if answer]
    assert len(received) > ROUNDS / 8
    for answer in received:
        assert answer.startswith(ANSWERS), answer[:300]
    live.until(lambda: live.front.num_fds() <= files + 4, "closed connections")
