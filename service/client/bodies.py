"""An answer's body, taken piece by piece and never larger than it may be.

httpx inflates whatever comes: 860 kB can become 860 MB. So bodies are read as they travel, and
inflated here, no further than the bound.
"""

import zlib

import httpx

from service.client.errors import UnexpectedAnswer

ENCODINGS = "gzip"
"""What the client accepts, as it says in Accept-Encoding."""

_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}
_GZIP = zlib.MAX_WBITS | 16


class AnswerBody:
    """The body of one answer; raises `UnexpectedAnswer` for what it may not be."""

    def __init__(self, answer: httpx.Response, most_bytes: int) -> None:
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", ENCODINGS):
            raise UnexpectedAnswer(
                f"the answer is compressed as {encoding[:40]!r}, which was not asked for"
            )
        self._answer = answer
        self._most_bytes = most_bytes
        self._pieces: list[bytes] = []
        self._left = most_bytes
        self._inflater = zlib.decompressobj(_GZIP) if encoding == ENCODINGS else None

    def take(self, data: bytes) -> None:
        """Take a piece as it travelled."""
        if self._inflater is None:
            self._keep(data)
            return
        try:
            while data:
                self._keep(self._inflater.decompress(data, self._left + 1))
                data = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise UnexpectedAnswer(f"the answer cannot be unpacked: {error}") from error

    def response(self) -> httpx.Response:
        """Return the answer with the whole body."""
        if self._inflater is not None and self._pieces and not self._inflater.eof:
            raise UnexpectedAnswer("the answer cannot be unpacked: it is cut short")
        answer = self._answer
        headers = [(k, v) for k, v in answer.headers.multi_items() if k not in _OF_THE_BODY]
        return httpx.Response(
            answer.status_code,
            headers=headers,
            content=b"".join(self._pieces),
            request=answer.request,
        )

    def _keep(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise UnexpectedAnswer(f"the answer has more than {self._most_bytes} bytes")
        self._pieces.append(data)
