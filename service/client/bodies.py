"""Reads an answer's body in pieces, up to a limit.

httpx inflates without a limit: 860 kB can become 860 MB. So this module reads raw bytes and
inflates them up to the limit.
"""

import zlib

import httpx

from service.client.errors import UnexpectedAnswer

ENCODINGS = "gzip"
"""The client's Accept-Encoding."""

_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}
_GZIP = zlib.MAX_WBITS | 16


class AnswerBody:
    """The body of one answer. Raises `UnexpectedAnswer` if it is too large or invalid."""

    def __init__(self, answer: httpx.Response, most_bytes: int) -> None:
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", ENCODINGS):
            raise UnexpectedAnswer(
                f"the answer has Content-Encoding {encoding[:40]!r}; expected {ENCODINGS} or none"
            )
        self._answer = answer
        self._most_bytes = most_bytes
        self._pieces: list[bytes] = []
        self._left = most_bytes
        self._inflater = zlib.decompressobj(_GZIP) if encoding == ENCODINGS else None

    def take(self, data: bytes) -> None:
        """Add a raw piece."""
        if self._inflater is None:
            self._keep(data)
            return
        try:
            while data:
                self._keep(self._inflater.decompress(data, self._left + 1))
                data = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise UnexpectedAnswer(f"the answer cannot be decompressed: {error}") from error

    def response(self) -> httpx.Response:
        """Return the answer with the whole body."""
        if self._inflater is not None and self._pieces and not self._inflater.eof:
            raise UnexpectedAnswer("the answer cannot be decompressed: it is cut off")
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
            raise UnexpectedAnswer(f"the answer may have {self._most_bytes} bytes, got more")
        self._pieces.append(data)
