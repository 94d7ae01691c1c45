"""Limits of a request, and reading a body within them."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Message

from service.errors import BodyTooLarge


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The maximum size and number of images of a request."""

    max_image_bytes: int
    max_request_bytes: int
    max_files: int


async def read_raw(request: Request, max_bytes: int) -> bytes:
    """Read a whole body. Raises `BodyTooLarge`, or Starlette's `ClientDisconnect`."""
    return await limited(request, max_bytes).body()


def limited(request: Request, max_bytes: int) -> Request:
    """Return the request with a body that raises `BodyTooLarge` beyond `max_bytes`."""
    refusal = BodyTooLarge(f"the body may have {max_bytes} bytes, got more")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise refusal
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise refusal
        return message

    return Request(request.scope, receive)
