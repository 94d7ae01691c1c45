"""The requests that are measured, as bytes on the wire."""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

BATCH = 32
_BOUNDARY = "b0c1d2e3f4a5"


@dataclass(frozen=True, slots=True)
class Posting:
    """A request of some images, sent over several connections at once."""

    name: str
    message: bytes
    images: int = 1
    connections: int = 8


def postings(good: str, defective: str, images: Mapping[str, bytes]) -> list[Posting]:
    """Return the measured requests; `images` has one image of each of the two categories."""
    image = images[good]
    batch = b"".join(file_part(f"{number}.png", image) for number in range(BATCH))
    contents = [{"content": text_of(image)}] * BATCH
    bodies = json.dumps({"category": good, "images": contents}).encode()
    one_form = form(field("category", good) + file_part("a.png", image))
    one = json.dumps({"category": good, "images": [{"content": text_of(image)}]}).encode()
    return [
        Posting("/detect, raw", post(f"/detect?category={good}", image, "image/png")),
        Posting("/detect, form", post("/detect", one_form, FORM)),
        Posting("/detect, JSON", post("/detect", one, JSON)),
        Posting("/v2, binary", infer(good, image)),
        Posting(
            f"/detect/batch of {BATCH}, form",
            post("/detect/batch", form(field("category", good) + batch), FORM), BATCH, 2,
        ),
        Posting(
            f"/detect/batch of {BATCH}, JSON", post("/detect/batch", bodies, JSON), BATCH, 2
        ),
        Posting(
            "/detect, raw, NG",
            post(f"/detect?category={defective}", images[defective], "image/png"),
        ),
    ]  # fmt: skip


def infer(category: str, image: bytes) -> bytes:
    """Return an inference request whose image file follows the JSON."""
    content = struct.pack("<I", len(image)) + image
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return post(
        f"/v2/models/{category}/infer", head + content, "application/octet-stream",
        f"Inference-Header-Content-Length: {len(head)}\r\n",
    )  # fmt: skip


FORM = f"multipart/form-data; boundary={_BOUNDARY}"
JSON = "application/json"


def post(path: str, body: bytes, content_type: str, more: str = "") -> bytes:
    """Return a request; `more` has headers."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
        f"{kind}{more}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def form(parts: bytes) -> bytes:
    """Return the body of a form with these parts."""
    return parts + f"--{_BOUNDARY}--\r\n".encode()


def field(name: str, value: str) -> bytes:
    """Return a form's text field."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    return f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n{value}\r\n".encode()


def file_part(filename: str, content: bytes) -> bytes:
    """Return a form's file."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    head = f"--{_BOUNDARY}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n"
    return head.encode() + content + b"\r\n"


def text_of(image: bytes) -> str:
    """Return the base64 of an image."""
    return base64.b64encode(image).decode()
