"""Answers stored by Idempotency-Key, so that a retry does not inspect again.

A client that lost its answer repeats the request with the same key and gets the same answer; a
repeat that comes too early waits for the first. Only final answers are stored, never "try again".
They are in memory, bounded in number, bytes and age, and a key belongs to its caller.
"""

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from service.api.posting.uploads import Posted
from service.errors import DeadlineExceeded, IdempotencyKeyReused, InvalidRequest
from service.inspection.images.sources import Upload
from service.telemetry.logs import note
from service.telemetry.metrics import Metrics

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_FINAL = frozenset({200, 400, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class Answered:
    """A response, and the statuses of its images that were not inspected."""

    response: Response
    image_statuses: Sequence[int] = ()

    @property
    def is_final(self) -> bool:
        """Whether a retry would get the same answer."""
        return {self.response.status_code, *self.image_statuses} <= _FINAL


@dataclass(slots=True, eq=False)
class _Entry:
    digest: bytes
    expires_at: float
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Response | None = None

    @property
    def nbytes(self) -> int:
        return len(self.answer.body) if self.answer else 0


class Answers:
    """The stored answers. Belongs to one event loop and is not thread-safe.

    response = await answers.once(key, digest, deadline, work)
    """

    def __init__(self, max_answers: int, max_bytes: int, ttl_s: float, metrics: Metrics) -> None:
        self._metrics = metrics
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all stored answers."""
        return sum(entry.nbytes for entry in self._entries.values())

    async def once(
        self, key: str, digest: bytes, deadline: float, work: Callable[[], Awaitable[Answered]]
    ) -> Response:
        """Return the key's answer, or do the work, once for all concurrent requests.

        Raises `IdempotencyKeyReused` if the key was used with another request, and
        `DeadlineExceeded` if a concurrent request is not answered by the `deadline`.
        """
        while (entry := self._current(key)) is not None:
            if entry.digest != digest:
                self._metrics.idempotent_answers.labels("conflict").inc()
                raise IdempotencyKeyReused(
                    f"this {KEY_HEADER} was used with another body, Content-Type or path: use a "
                    "new key for each new request, and the same key only to repeat one"
                )
            if entry.answer is not None:
                self._entries.move_to_end(key)
                self._metrics.idempotent_answers.labels("replayed").inc()
                return _replay(entry.answer)
            try:
                async with asyncio.timeout_at(deadline):
                    await entry.done.wait()
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"another request with this {KEY_HEADER} was not answered in time"
                ) from error
        return await self._first(key, digest, work)

    async def _first(
        self, key: str, digest: bytes, work: Callable[[], Awaitable[Answered]]
    ) -> Response:
        entry = _Entry(digest, float("inf"))
        self._entries[key] = entry
        self._metrics.idempotent_answers.labels("computed").inc()
        try:
            answered = await work()
            if answered.is_final and len(answered.response.body) <= self._max_bytes:
                entry.answer = answered.response
                entry.expires_at = asyncio.get_running_loop().time() + self._ttl_s
            return answered.response
        finally:
            if entry.answer is None:  # the next waiting request does the work
                del self._entries[key]
            entry.done.set()
            self._trim()

    def _current(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at <= asyncio.get_running_loop().time():
            del self._entries[key]
            return None
        return entry

    def _trim(self) -> None:
        """Drop the least recently used answers, but no unfinished one."""
        finished = [key for key, entry in self._entries.items() if entry.answer is not None]
        nbytes = self.nbytes
        for key in finished:
            if len(self._entries) <= self._max_answers and nbytes <= self._max_bytes:
                return
            nbytes -= self._entries.pop(key).nbytes


def key_of(request: Request) -> str | None:
    """Return the request's key together with its caller's name. Raises `InvalidRequest`."""
    given = request.headers.get(KEY_HEADER)
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidRequest(f"{KEY_HEADER} must be 1 to 255 printable ASCII characters, no spaces")
    caller = request.scope["state"].get("caller")
    return f"{getattr(caller, 'name', '')} {given}"


async def digest_of(path: str, media_type: str, images: Sequence[Posted]) -> bytes:
    """Return a digest of the request's images and fields.

    It excludes a form's boundaries, which differ when the form is repeated, and inspection ids: the
    key already says that it is the same request.
    """
    digest = hashlib.sha256(json.dumps([path, media_type]).encode())
    for image in images:
        source = image.source
        content = source.content if isinstance(source, Upload) else source.text
        fields = image.fields.model_dump(mode="json", exclude={"inspection_id"})
        head = json.dumps([image.filename, fields], sort_keys=True)
        await asyncio.to_thread(_update, digest, head.encode(), content)
    return digest.digest()


def _update(digest: "hashlib._Hash", *pieces: bytes | memoryview) -> None:
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)


def _replay(answer: Response) -> Response:
    note(idempotency="replayed")
    headers: Mapping[str, str] = {**answer.headers, REPLAYED_HEADER: "true"}
    return Response(answer.body, answer.status_code, headers)
