"""The async client; it differs from the blocking one only in how it waits."""

from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import httpx

from service.client.addresses import Addresses
from service.client.calls import Calls, new_key
from service.client.clients import DEFAULT_TIMEOUT_MS, PAGE_SIZE
from service.client.exchange import Outcome, Pause, Retry, Step
from service.client.images import (
    ImageLike,
    ImagesLike,
    Part,
    as_parts,
    read_images,
    read_parts,
    time_text,
)
from service.client.inspections import EVERYTHING, Inspection, Search, Verdict, verdict_body
from service.client.results import Category, Readiness, Result
from service.client.trust import trust
from service.client.waiting import receive_async

T = TypeVar("T")


class AsyncClient:
    """A client like `Client` for asyncio and trio."""

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        api_key: str | None = None,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        retry: Retry | None = None,
        ca_file: Path | str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(Addresses(url), api_key, timeout_ms, retry or Retry())
        self._http = httpx.AsyncClient(
            headers=self._calls.headers,
            verify=trust(ca_file),
            transport=transport,
        )

    @property
    def url(self) -> str:
        """The address of the service; of several, the one where the next call begins."""
        return str(self._calls.addresses.first)

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
        inspection_id: str | None = None,
        captured_at: datetime | str | None = None,
        told: str | None = None,
        told_reason: str | None = None,
        origin: str | None = None,
    ) -> list[Result]:
        """Inspect images as `Client.detect` does."""
        part = {
            "part_id": part_id, "station": station, "job_id": job_id, "priority": priority,
            "captured_at": time_text(captured_at), "told": told, "told_reason": told_reason,
            "origin": origin,
        }  # fmt: skip
        files = await anyio.to_thread.run_sync(read_images, images)
        key = new_key() if idempotency_key is None else idempotency_key
        return await self._run(
            self._calls.detect(
                files, category, heatmap, part, meta, timeout_ms, key, request_id, inspection_id
            )
        )

    async def detect_batch(
        self,
        images: "Sequence[Part | ImageLike]",
        *,
        category: str | None = None,
        heatmap: str | None = None,
        priority: str | None = None,
        timeout_ms: float | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> list[Result]:
        """Inspect many images as `Client.detect_batch` does."""
        parts = as_parts(images)
        common = {"category": category, "heatmap": heatmap, "priority": priority}
        files = await anyio.to_thread.run_sync(read_parts, parts)
        key = new_key() if idempotency_key is None else idempotency_key
        return await self._run(
            self._calls.detect_batch(parts, files, common, timeout_ms, key, request_id)
        )

    async def record(
        self,
        images: "ImagesLike | None" = None,
        *,
        category: str,
        told: str,
        told_reason: str | None = None,
        inspection_id: str | None = None,
        captured_at: datetime | str | None = None,
        part_id: str | None = None,
        station: str | None = None,
        job_id: str | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
    ) -> Inspection:
        """Record a part as `Client.record` does."""
        part = {
            "category": category, "told": told, "told_reason": told_reason,
            "captured_at": time_text(captured_at),
            "part_id": part_id, "station": station, "job_id": job_id,
        }  # fmt: skip
        files = [] if images is None else await anyio.to_thread.run_sync(read_images, images)
        return await self._run(self._calls.record(files, part, meta, timeout_ms, inspection_id))

    async def categories(self) -> list[Category]:
        """Return the categories, as `Client.categories` does."""
        return await self._run(self._calls.categories())

    async def warm(self, category: str, *, timeout_ms: float | None = None) -> None:
        """Have a category's versions loaded, as `Client.warm` does."""
        await self._run(self._calls.warm(category, timeout_ms))

    async def inspections(
        self, search: Search = EVERYTHING, *, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[Inspection]:
        """Yield archived inspections, as `Client.inspections` does."""
        cursor = None
        while True:
            page = await self._run(self._calls.page(search, cursor, page_size))
            for inspection in page.inspections:
                yield inspection
            if (cursor := page.cursor) is None:
                return

    async def inspection(self, inspection_id: UUID | str) -> Inspection:
        """Return an archived inspection, as `Client.inspection` does."""
        return await self._run(self._calls.inspection(inspection_id))

    async def verdict(
        self,
        inspection_id: UUID | str,
        verdict: Verdict | str,
        *,
        defect_class: str | None = None,
        comment: str | None = None,
        who: str | None = None,
    ) -> Inspection:
        """Give a verdict, as `Client.verdict` does."""
        body = verdict_body(verdict, defect_class, comment, who)
        return await self._run(self._calls.verdict(inspection_id, body))

    async def ready(self) -> Readiness:
        """Return whether the service can inspect, as `Client.ready` does."""
        return await self._run(self._calls.ready())

    async def close(self) -> None:
        """Close all connections."""
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
            with anyio.fail_after(step.longest_s):
                return await receive_async(self._http, step)
        except TimeoutError:
            return httpx.ReadTimeout("the answer was not complete in time")
        except httpx.RequestError as error:
            return error
