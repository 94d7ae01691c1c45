"""The blocking client; `async_clients` has the other, which differs only in how it waits."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx

from service.client.addresses import Addresses
from service.client.calls import Calls, new_key
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
from service.client.waiting import receive, within

T = TypeVar("T")

DEFAULT_TIMEOUT_MS = 30_000.0
PAGE_SIZE = 100


class Client:
    """A blocking client; threads may share it. Close it, or use it as a context manager.

    `url` may be several addresses of one service, such as its nodes. A call begins at the one that
    answered last, and goes on at the next one; see `Retry`.

    `timeout_ms` limits a whole call, including retries; the client sends it to the service, which
    answers 504 after it. `ca_file` is a PEM file of the authority to trust, instead of the public
    ones; a file without certificates raises `ValueError`. `transport` replaces httpx's, for a test
    or a proxy.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        api_key: str | None = None,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        retry: Retry | None = None,
        ca_file: Path | str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(Addresses(url), api_key, timeout_ms, retry or Retry())
        self._http = httpx.Client(
            headers=self._calls.headers,
            verify=trust(ca_file),
            transport=transport,
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
        inspection_id: str | None = None,
        captured_at: datetime | str | None = None,
        told: str | None = None,
        told_reason: str | None = None,
        origin: str | None = None,
    ) -> list[Result]:
        """Inspect one or several images of a category; return one result each, in order.

        `heatmap` is map, overlay, mask or raw; `priority` is high or normal. An empty
        `idempotency_key` sends none. `inspection_id` is a UUIDv7, by default a new one; a call with
        that of an earlier one gets the recorded decision. `told` is the decision that the line has
        already acted on. `origin` is line or test.

        Raises `InspectionError` if no image was inspected. If only some were, all others are
        UNDECIDED and have an `error`, which `Result.require` raises.
        """
        part = {
            "part_id": part_id, "station": station, "job_id": job_id, "priority": priority,
            "captured_at": time_text(captured_at), "told": told, "told_reason": told_reason,
            "origin": origin,
        }  # fmt: skip
        files = read_images(images)
        key = new_key() if idempotency_key is None else idempotency_key
        return self._run(
            self._calls.detect(
                files, category, heatmap, part, meta, timeout_ms, key, request_id, inspection_id
            )
        )

    def detect_batch(
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
        """Inspect many images, each a `Part` with its own fields; return one result each, in order.

        The arguments apply to parts that do not set them. An image that was not inspected is
        UNDECIDED and has an `error`. `timeout_ms` is for all images together. Raises
        `InspectionError` if the whole request failed.
        """
        parts = as_parts(images)
        common = {"category": category, "heatmap": heatmap, "priority": priority}
        files = read_parts(parts)
        key = new_key() if idempotency_key is None else idempotency_key
        return self._run(
            self._calls.detect_batch(parts, files, common, timeout_ms, key, request_id)
        )

    def record(
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
        """Record a part as the line was told, and have its images inspected for the record.

        With the `inspection_id` of an earlier call, its record says so too. Raises
        `InspectionError` if nothing was recorded.
        """
        part = {
            "category": category, "told": told, "told_reason": told_reason,
            "captured_at": time_text(captured_at),
            "part_id": part_id, "station": station, "job_id": job_id,
        }  # fmt: skip
        files = [] if images is None else read_images(images)
        return self._run(self._calls.record(files, part, meta, timeout_ms, inspection_id))

    def categories(self) -> list[Category]:
        """Return the categories that can be inspected. Raises `InspectionError`."""
        return self._run(self._calls.categories())

    def warm(self, category: str, *, timeout_ms: float | None = None) -> None:
        """Have every worker load the versions of a category, before its first part comes.

        Raises `UnknownCategory`, or `InspectionError`.
        """
        self._run(self._calls.warm(category, timeout_ms))

    def inspections(
        self, search: Search = EVERYTHING, *, page_size: int = PAGE_SIZE
    ) -> Iterator[Inspection]:
        """Yield archived inspections, newest first; asks for a page when it is needed.

        Raises `InspectionError`.
        """
        cursor = None
        while True:
            page = self._run(self._calls.page(search, cursor, page_size))
            yield from page.inspections
            if (cursor := page.cursor) is None:
                return

    def inspection(self, inspection_id: UUID | str) -> Inspection:
        """Return an archived inspection. Raises `UnknownInspection`, or `InspectionError`."""
        return self._run(self._calls.inspection(inspection_id))

    def verdict(
        self,
        inspection_id: UUID | str,
        verdict: Verdict | str,
        *,
        defect_class: str | None = None,
        comment: str | None = None,
        who: str | None = None,
    ) -> Inspection:
        """Give a verdict on an archived part: good, defective or unsure; return the inspection.

        "withdrawn" takes it back: then none stands.

        Raises `UnknownInspection`, or `InspectionError`.
        """
        body = verdict_body(verdict, defect_class, comment, who)
        return self._run(self._calls.verdict(inspection_id, body))

    def ready(self) -> Readiness:
        """Return whether the service can inspect. Raises `CannotConnect` if nobody answers."""
        return self._run(self._calls.ready())

    def close(self) -> None:
        """Close all connections."""
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
            return within(step.longest_s, lambda: receive(self._http, step))
        except httpx.RequestError as error:
            return error
