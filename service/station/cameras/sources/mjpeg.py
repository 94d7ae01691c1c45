"""A network camera that sends JPEG files one after another in one HTTP answer (MJPEG).

The files are neither decoded nor written anew: the service gets the bytes that the camera sent.
"""

import re
from collections.abc import Iterator

import httpcore
import httpx

from service.station.cameras.sources.arrivals import NotingTransport
from service.station.cameras.sources.source import SourceLost
from service.station.settings import StreamCamera

_KIND = re.compile(r'multipart/x-mixed-replace\s*;.*?boundary="?([^";]+)"?', re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length:\s*(\d{1,12})\s*$", re.IGNORECASE | re.MULTILINE)
_LOST = (
    httpx.HTTPError, httpx.StreamError, httpcore.NetworkError, httpcore.ProtocolError,
    httpcore.TimeoutException, OSError, ValueError,
)  # fmt: skip
_MAX_HEADER_BYTES = 65_536
_MAX_FRAME_BYTES = 64 * 2**20


class MjpegStream:
    """Reads `multipart/x-mixed-replace`; logs in by Digest or Basic if the URL has a user."""

    is_triggered = False

    def __init__(self, settings: StreamCamera) -> None:
        url = httpx.URL(str(settings.url))
        self._user = (url.username, url.password) if url.userinfo else None
        self._url = url.copy_with(userinfo=b"")
        self._timeout_s = settings.lost_after_ms / 1_000
        self._frame = b""

    def open(self) -> None:
        """Ask for the stream. Raises `SourceLost`."""
        self._transport = NotingTransport()
        self._client = httpx.Client(transport=self._transport, timeout=self._timeout_s)
        try:
            self._answer = self._get()
            kind = self._answer.headers.get("Content-Type", "")
            match = _KIND.match(kind)
            if self._answer.status_code != httpx.codes.OK or match is None:
                raise SourceLost(
                    f"{self._url} answered {self._answer.status_code} {kind or 'without type'}, "
                    "expected 200 multipart/x-mixed-replace"
                )
            self._parts = _Parts(self._answer.iter_raw(), match[1], self._transport)
        except _LOST as error:
            raise SourceLost(f"no stream from {self._url}: {_words(error)}") from error

    def check(self) -> None:
        """Do nothing: frames come all the time."""

    def grab(self) -> float:
        """Read one part. Raises `SourceLost`."""
        try:
            self._frame, taken_after_s = self._parts.next()
        except _LOST as error:
            raise SourceLost(f"the stream of {self._url} broke: {_words(error)}") from error
        return taken_after_s

    def retrieve(self) -> bytes:
        """Return the latest part: a JPEG file."""
        return self._frame

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _get(self) -> httpx.Response:
        """Return an answer whose body is not read yet."""
        ways: list[httpx.Auth | None] = [None]
        if self._user is not None:
            ways = [httpx.DigestAuth(*self._user), httpx.BasicAuth(*self._user)]
        request = self._client.build_request("GET", self._url)
        for way in ways:
            answer = self._client.send(request, stream=True, auth=way)
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                break
            answer.close()
        return answer


class _Parts:
    """Cuts a stream into its parts; `next` returns a part and since when it can have existed.

    The first byte of a part's content arrived after the connection was seen empty.
    """

    def __init__(self, pieces: Iterator[bytes], boundary: str, notes: NotingTransport) -> None:
        self._pieces = pieces
        # RFC 2046 puts "--" before the boundary; some cameras have it in the header as well.
        self._boundary = b"--" + boundary.removeprefix("--").encode()
        self._notes = notes
        self._buffer = bytearray()
        self._empty_at_s = notes.empty_at_s

    def next(self) -> tuple[bytes, float]:
        """Return the next part. Raises `ValueError` for a malformed stream, and at its end."""
        self._until(self._boundary, _MAX_HEADER_BYTES)
        head = self._until(b"\r\n\r\n", _MAX_HEADER_BYTES)
        length = _LENGTH.search(head.replace(b"\r\n", b"\n"))
        size = int(length[1]) if length else 0
        if size > _MAX_FRAME_BYTES:
            raise ValueError(f"an image of {size} bytes, expected at most {_MAX_FRAME_BYTES}")
        if not self._buffer:
            self._fill()
        # What is left in the buffer came with the latest piece.
        taken_after_s = self._empty_at_s
        if length is None:
            return self._until(b"\r\n" + self._boundary, _MAX_FRAME_BYTES, keep=True), taken_after_s
        while len(self._buffer) < size:
            self._fill()
        return self._cut(size), taken_after_s

    def _until(self, mark: bytes, limit: int, *, keep: bool = False) -> bytes:
        """Return the bytes before a mark, and take the mark away unless it is to be kept."""
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            if len(self._buffer) > limit:
                raise ValueError(f"no {mark!r} within {limit} bytes")
            searched = max(0, len(self._buffer) - len(mark) + 1)
            self._fill()
        content = self._cut(at)
        if not keep:
            self._cut(len(mark))
        return content

    def _cut(self, size: int) -> bytes:
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content

    def _fill(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise ValueError("the camera ended it")
        self._empty_at_s = self._notes.empty_at_s
        self._buffer += piece


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
