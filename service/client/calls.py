"""The calls that both clients share; see `service.client.exchange`."""

import json
import math
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from service.client.addresses import Addresses
from service.client.bodies import ENCODINGS
from service.client.exchange import INSPECTIONS, Call, Outcome, Retry, Step, exchange
from service.client.images import File, Part
from service.client.inspections import (
    Inspection,
    Page,
    Search,
    read_inspection,
    read_page,
    read_record,
)
from service.client.results import (
    Category,
    Readiness,
    Result,
    read_body,
    read_categories,
    read_readiness,
    read_results,
)
from service.identifiers import new_id, parse_id

INSPECTION_ID_HEADER = "X-Inspection-ID"


class Calls:
    """The calls of both clients, as generators of steps; see `service.client.exchange`."""

    def __init__(
        self, addresses: Addresses, api_key: str | None, timeout_ms: float, retry: Retry
    ) -> None:
        self.addresses = addresses
        self._timeout_s = _seconds(timeout_ms)
        self._retry = retry
        self.headers = {"User-Agent": "mambaad-client", "Accept-Encoding": ENCODINGS}
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
        inspection_id: str | None,
    ) -> Generator[Step, Outcome, list[Result]]:
        """Inspect images of one part."""
        form = {"category": category, "heatmap": heatmap, **part, "meta": _json_text(meta)}
        call = self._post("/detect", form, files, timeout_ms, idempotency_key, request_id)
        call = _of_part(call, inspection_id)
        response = yield from self._exchange(call)
        return read_results(response, [category] * len(files), [file.name for file in files])

    def detect_batch(
        self,
        parts: Sequence[Part],
        files: Sequence[File],
        common: Mapping[str, str | None],
        timeout_ms: float | None,
        idempotency_key: str | None,
        request_id: str | None,
    ) -> Generator[Step, Outcome, list[Result]]:
        """Inspect many images; `common` has the fields for parts that do not set them."""
        categories = [part.category or common["category"] for part in parts]
        if None in categories:
            raise ValueError(
                f"part {categories.index(None)} of {len(parts)} (counted from 0) has no category: "
                "set it on the part, or for the call"
            )
        form = {**common, "images": json.dumps([part.asked for part in parts], allow_nan=False)}
        call = self._post("/detect/batch", form, files, timeout_ms, idempotency_key, request_id)
        response = yield from self._exchange(call)
        return read_results(response, categories, [file.name for file in files])

    def record(
        self,
        files: Sequence[File],
        part: Mapping[str, str | None],
        meta: Mapping[str, Any] | None,
        timeout_ms: float | None,
        inspection_id: str | None,
    ) -> Generator[Step, Outcome, Inspection]:
        """Record a part as the line was told."""
        form = {**part, "meta": _json_text(meta)}
        call = _of_part(self._post(INSPECTIONS, form, files, timeout_ms), inspection_id)
        return read_record((yield from self._exchange(call)))

    def categories(self) -> Generator[Step, Outcome, list[Category]]:
        """List the categories that can be inspected."""
        return read_categories((yield from self._exchange(self._get("/categories"))))

    def warm(self, category: str, timeout_ms: float | None) -> Generator[Step, Outcome, None]:
        """Have a category's versions loaded."""
        path = f"/categories/{quote(category, safe='')}/warm"
        read_body((yield from self._exchange(self._post(path, {}, [], timeout_ms))))

    def page(
        self, search: Search, cursor: str | None, limit: int
    ) -> Generator[Step, Outcome, Page]:
        """Return a page of a search."""
        query = {**search.query, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        call = Call("GET", INSPECTIONS, self._timeout_s, query=query)
        return read_page((yield from self._exchange(call)))

    def inspection(self, inspection_id: UUID | str) -> Generator[Step, Outcome, Inspection]:
        """Return one inspection."""
        call = self._get(_path_of(inspection_id))
        return read_inspection((yield from self._exchange(call)))

    def verdict(
        self, inspection_id: UUID | str, body: Mapping[str, str]
    ) -> Generator[Step, Outcome, Inspection]:
        """Give a verdict."""
        path = f"{_path_of(inspection_id)}/verdict"
        call = Call("PUT", path, self._timeout_s, body=body)
        return read_inspection((yield from self._exchange(call)))

    def ready(self) -> Generator[Step, Outcome, Readiness]:
        """Ask whether the service is ready."""
        # Each address once: 503 is a valid answer here.
        once = Retry(attempts=len(self.addresses))
        response = yield from exchange(self._get("/readyz"), once, self.addresses, expect=(503,))
        return read_readiness(response)

    def _exchange(self, call: Call) -> Generator[Step, Outcome, httpx.Response]:
        return exchange(call, self._retry, self.addresses)

    def _post(
        self,
        path: str,
        form: Mapping[str, str | None],
        files: Sequence[File],
        timeout_ms: float | None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> Call:
        headers = {"Idempotency-Key": idempotency_key, "X-Request-ID": request_id}
        return Call(
            "POST",
            path,
            self._timeout_s if timeout_ms is None else _seconds(timeout_ms),
            {name: value for name, value in headers.items() if value},
            {name: value for name, value in form.items() if value is not None},
            files,
        )

    def _get(self, path: str) -> Call:
        return Call("GET", path, self._timeout_s)


def _of_part(call: Call, inspection_id: str | None) -> Call:
    """Return a call about one part, whose id is the caller's or a new one."""
    chosen = new_id() if inspection_id is None else parse_id(str(inspection_id))
    return replace(call, headers={**call.headers, INSPECTION_ID_HEADER: str(chosen)})


def _json_text(meta: Mapping[str, Any] | None) -> str | None:
    return None if meta is None else json.dumps(meta, allow_nan=False)


def _path_of(inspection_id: UUID | str) -> str:
    return f"{INSPECTIONS}/{quote(str(inspection_id), safe='')}"


def _seconds(timeout_ms: float) -> float:
    if not 0 < timeout_ms < math.inf:
        raise ValueError(f"timeout_ms must be above 0 and finite, got {timeout_ms}")
    return timeout_ms / 1000


def new_key() -> str:
    """Return a new Idempotency-Key."""
    return uuid.uuid4().hex
