"""The two clients; they differ in how they wait, and in nothing else."""

import json
import math
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import httpx

from service.client.exchange import Call, Outcome, Pause, Retry, Step, exchange
from service.client.images import File, ImagesLike, read_images
from service.client.results import (
    Category,
    Readiness,
    Result,
    read_categories,
    read_readiness,
    read_results,
)

T = TypeVar("T")

DEFAULT_TIMEOUT_MS = 30_000.0


class _Calls:
    """What both clients can ask, as generators of steps; see `service.client.exchange`."""

    def __init__(self, api_key: str | None, timeout_ms: float, retry: Retry) -> None:
        self._timeout_s = _seconds(timeout_ms)
        self._retry = retry
        self.headers = {"User-Agent": "mambaad-client"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def detect(
        self,
        files: Sequence[File],
        category: str,
        heatmap: str | None,
        part: Mapping[str, str | None],
        meta: Mapping[str, Any] | None,
        timeout_ms: float | None,
        idempotency_key: str | None,
        request_id: str | None,
    ) -> Generator[Step, Outcome, list[Result]]:
        form = {"category": category, "heatmap": heatmap, **part}
        form["meta"] = None if meta is None else json.dumps(meta, allow_nan=False)
        headers = {"Idempotency-Key": idempotency_key, "X-Request-ID": request_id}
        call = Call(
            "POST",
            "/detect",
            self._timeout_s if timeout_ms is None else _seconds(timeout_ms),
            {name: value for name, value in headers.items() if value},
            {name: value for name, value in form.items() if value is not None},
            files,
        )
        response = yield from exchange(call, self._retry)
        return read_results(response, category, [file.name for file in files])

    def categories(self) -> Generator[Step, Outcome, list[Category]]:
        return read_categories((yield from exchange(self._get("/categories"), self._retry)))

    def ready(self) -> Generator[Step, Outcome, Readiness]:
        # Tried once: whether it is ready is what is asked, and 503 is an answer to it.
        response = yield from exchange(self._get("/readyz"), Retry(attempts=1), expect=(503,))
        return read_readiness(response)

    def _get(self, path: str) -> Call:
        return Call("GET", path, self._timeout_s)


def _seconds(timeout_ms: float) -> float:
    if not 0 < timeout_ms < math.inf:
        raise ValueError(f"timeout_ms must be above 0 and finite, got {timeout_ms}")
    return timeout_ms / 1000


def _base_url(url: str) -> httpx.URL:
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"expected a URL like http://127.0.0.1:8000, got {url!r}")
    return parsed


def new_key() -> str:
    """Return an Idempotency-Key of its own."""
    return uuid.uuid4().hex


class Client:
    """A blocking client; threads may share it. Close it, or use it as a context manager.

    `timeout_ms` is how long a call may take in all, retries included; the service is told, and
    answers 504 by itself. `transport` is httpx's, for a test or a proxy of one's own.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = _Calls(api_key, timeout_ms, retry or Retry())
        self._http = httpx.Client(
            base_url=_base_url(url), headers=self._calls.headers, transport=transport
        )

    def detect(
        self,
        images: ImagesLike,
        *,
        category: str,
        heatmap: str | None = None,
        part_id: str | None = None,
        station: str | None = None,
        job_id: str | None = None,
        meta: Mapping[str, Any] | None = None,
        priority: str | None = None,
        timeout_ms: float | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> list[Result]:
        """Inspect one or several images of a category: one result each, in their order.

        `heatmap` is a kind that the service draws: map, overlay, mask or raw; `priority` is high or
        normal. An empty `idempotency_key` sends none.

        Raises `InspectionError` where no image was inspected. Where only some were, those that were
        not are UNDECIDED and have an `error`; `Result.require` raises it.
        """
        part = {"part_id": part_id, "station": station, "job_id": job_id, "priority": priority}
        files = read_images(images)
        key = new_key() if idempotency_key is None else idempotency_key
        return self._run(
            self._calls.detect(files, category, heatmap, part, meta, timeout_ms, key, request_id)
        )

    def categories(self) -> list[Category]:
        """Return what can be inspected. Raises `InspectionError`."""
        return self._run(self._calls.categories())

    def ready(self) -> Readiness:
        """Return whether the service can inspect; `CannotConnect` where nobody answers."""
        return self._run(self._calls.ready())

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Generator[Step, Outcome, T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = work.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._do(step)

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.send(step.build(self._http))
        except httpx.RequestError as error:
            return error


class AsyncClient:
    """The same for asyncio and trio."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = _Calls(api_key, timeout_ms, retry or Retry())
        self._http = httpx.AsyncClient(
            base_url=_base_url(url), headers=self._calls.headers, transport=transport
        )

    async def detect(
        self,
        images: ImagesLike,
        *,
        category: str,
        heatmap: str | None = None,
        part_id: str | None = None,
        station: str | None = None,
        job_id: str | None = None,
        meta: Mapping[str, Any] | None = None,
        priority: str | None = None,
        timeout_ms: float | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> list[Result]:
        """Inspect images as `Client.detect` does."""
        part = {"part_id": part_id, "station": station, "job_id": job_id, "priority": priority}
        files = await anyio.to_thread.run_sync(read_images, images)
        key = new_key() if idempotency_key is None else idempotency_key
        return await self._run(
            self._calls.detect(files, category, heatmap, part, meta, timeout_ms, key, request_id)
        )

    async def categories(self) -> list[Category]:
        """Return what can be inspected, as `Client.categories` does."""
        return await self._run(self._calls.categories())

    async def ready(self) -> Readiness:
        """Return whether the service can inspect, as `Client.ready` does."""
        return await self._run(self._calls.ready())

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, work: Generator[Step, Outcome, T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = work.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._do(step)

    async def _do(self, step: Step) -> Outcome:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        try:
            return await self._http.send(step.build(self._http))
        except httpx.RequestError as error:
            return error
