"""Nodes of one service on hosts of their own, and stations that post parts to them."""

import json
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import httpx
import psycopg
import pytest

from service.client import Client, InspectionError
from service.identifiers import new_id
from tests.hosts import Host
from tests.service.live import Live, serving

STATIONS = 3
VIEWS = 2
TIMEOUT_S = 600.0 if __import__("os").environ.get("SLOW") else 180.0
_CALL_MS = 12_000
"""Of a call: a third for each of three nodes."""
_PACE_S = 0.1

BOLT = "/categories/bolt/route"


class Node:
    """A host with its weights, its state folder, and `mambaad serve`.

    `variables` are of the environment, and no settings.
    """

    def __init__(
        self,
        host: Host,
        folder: Path,
        weights: Path,
        variables: Mapping[str, str] = MappingProxyType({}),
        **settings: object,
    ) -> None:
        self.host = host
        self.state_dir = folder / host.name
        self._weights = weights
        self._variables = variables
        self._settings = settings
        self._running = ExitStack()
        self.live: Live

    def start(self) -> None:
        """Serve; returns when the node is ready."""
        with self.host.entered():
            self.live = self._running.enter_context(
                serving(
                    self._weights,
                    variables=self._variables,
                    http__host=self.host.address,
                    http__port=8000,
                    versions__state_dir=self.state_dir,
                    archive__node=self.host.name,
                    **self._settings,
                )
            )

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:8000"

    def lose_power(self) -> None:
        """Kill all processes of the node."""
        self.host.lose_power()
        self._running.close()

    def close(self) -> None:
        self._running.close()

    def attempts(self) -> "list[Attempt]":
        """Read the journal of this node."""
        path = self.state_dir / "archive" / "journal.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return _attempts(database.execute(_QUERY).fetchall())


@dataclass(frozen=True, slots=True)
class Attempt:
    """An inspection in an archive."""

    inspection_id: UUID
    node: str
    told: str
    version: str | None
    raw_scores: tuple[float, ...]


_QUERY = """
SELECT inspections.inspection_id, node, told, model_version, view, views.raw_score
FROM inspections JOIN views ON views.inspection_id = inspections.inspection_id
ORDER BY inspections.inspection_id, view
"""


def central_attempts(url: str) -> list[Attempt]:
    """Read the archive of all nodes."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return _attempts(connection.execute(_QUERY).fetchall())


def _attempts(rows: Sequence[tuple]) -> list[Attempt]:
    by_id: dict[object, list[tuple]] = defaultdict(list)
    for row in rows:
        by_id[row[0]].append(row)
    return [
        Attempt(
            key if isinstance(key, UUID) else UUID(bytes=key),
            *of_part[0][1:4],
            tuple(row[5] for row in of_part),
        )
        for key, of_part in by_id.items()
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that a station got; `posted_at` is the time of its first attempt."""

    inspection_id: UUID
    image: int
    told: str
    version: str
    raw_scores: tuple[float, ...]
    posted_at: float


@dataclass
class Line:
    """Stations, each with the nodes' addresses in an order of its own."""

    host: Host
    key: str
    urls: Sequence[str]
    images: Sequence[bytes]
    answers: list[Answer] = field(default_factory=list)
    failures: list[InspectionError] = field(default_factory=list)
    by_station: Counter[int] = field(default_factory=Counter)

    @contextmanager
    def posting(self, urls: Sequence[str] = ()) -> Iterator[None]:
        """Post parts while the block runs; each that was begun is answered afterwards."""
        done = threading.Event()
        urls = urls or self.urls
        with self.host.entered():
            stations = [
                threading.Thread(
                    target=self._post, args=(number, [*urls[number:], *urls[:number]], done)
                )
                for number in range(STATIONS)
            ]
            for station in stations:
                station.start()
        try:
            yield
        finally:
            done.set()
            for station in stations:
                station.join()

    def go_on(self, parts: int = 3) -> None:
        """Wait until each station has had so many answers more."""
        before = Counter(self.by_station)
        until(
            lambda: all(self.by_station[n] >= before[n] + parts for n in range(STATIONS)),
            f"{parts} answers for each station; {self.failures[-3:]}",
        )

    def _post(self, station: int, urls: Sequence[str], done: threading.Event) -> None:
        with Client(urls, api_key=self.key, timeout_ms=_CALL_MS) as client:
            while not done.wait(_PACE_S):
                image = self.by_station[station] % (len(self.images) - VIEWS + 1)
                self.answers.append(self._inspected(client, image, f"press {station}"))
                self.by_station[station] += 1

    def _inspected(self, client: Client, image: int, station: str) -> Answer:
        """Post a part, and again under the same id until it is answered."""
        inspection_id, posted_at = new_id(), time.monotonic()
        views = list(self.images[image : image + VIEWS])
        while time.monotonic() < posted_at + TIMEOUT_S:
            try:
                results = client.detect(
                    views, category="bolt", station=station, inspection_id=str(inspection_id)
                )
            except InspectionError as error:
                self.failures.append(error)
                time.sleep(0.1)
                continue
            told = "OK" if all(result.is_ok for result in results) else results[0].decision.value
            versions = {result.require().model.version for result in results}  # type: ignore[union-attr]
            assert len(versions) == 1, "one version inspects all views of a part"
            assert {result.archived for result in results} == {True}
            raw_scores = tuple(result.raw_score or 0.0 for result in results)
            return Answer(inspection_id, image, told, *versions, raw_scores, posted_at)
        raise AssertionError(f"no answer in {TIMEOUT_S} s: {self.failures[-3:]}")


def check(
    answers: Sequence[Answer],
    nodes: Sequence[Node],
    central: str,
    expected: Sequence[float],
    decisions: Mapping[str, str],
) -> None:
    """Compare the answers with all archives, and with the single machine's raw scores.

    `decisions` has the decision of each version.
    """
    assert len({answer.inspection_id for answer in answers}) == len(answers)
    journaled: dict[UUID, list[Attempt]] = {}
    rows: dict[UUID, Attempt] = {}

    def is_complete() -> bool:
        """Read all archives; an attempt that no station waited for may still be recorded."""
        journaled.clear()
        for node in nodes:
            for attempt in node.attempts():
                assert attempt.node == node.host.name
                journaled.setdefault(attempt.inspection_id, []).append(attempt)
        rows.clear()
        rows.update((row.inspection_id, row) for row in central_attempts(central))
        return {answer.inspection_id for answer in answers} <= journaled.keys() == rows.keys()

    until(is_complete, "complete central archive")
    for answer in answers:
        scores = expected[answer.image : answer.image + VIEWS]
        told = (answer.told, answer.version)
        assert told == (decisions[answer.version], answer.version)
        for record in (answer, rows[answer.inspection_id], *journaled[answer.inspection_id]):
            assert record.raw_scores == pytest.approx(scores, abs=1e-5)
            assert record.told == decisions[record.version or ""]
        kept = {(attempt.told, attempt.version) for attempt in journaled[answer.inspection_id]}
        assert told in kept
        row = rows[answer.inspection_id]
        assert (row.told, row.version) == told, f"the line was told {answer}; attempts: {kept}"


def until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < ends, f"no {what} within {TIMEOUT_S} s"
        time.sleep(0.05)


def shared_settings(url: str) -> dict[str, object]:
    """Settings of nodes that share a state, and deliver to one archive in the same PostgreSQL."""
    sink = {"type": "postgresql", "url": url.replace("+psycopg", ""), "start": "oldest"}
    hurry = {"timeout_s": 2, "backoff_s": 0.1, "max_backoff_s": 0.5, "max_per_s": 1000}
    return {
        "state__url": url,
        "state__poll_s": 0.5,
        "state__timeout_s": 2,
        "delivery__sinks": json.dumps({"central": sink | hurry}),
        "workers__stop_grace_s": 2,
        "http__shutdown_grace_s": 0,
    }


def change_route(node: Node, key: str, version: str) -> httpx.Response:
    """Route bolts to a version of `parts`."""
    body = {"stable": {"name": "parts", "version": version}, "keep_previous": True}
    with httpx.Client(base_url=node.url, timeout=TIMEOUT_S) as client:
        client.headers["authorization"] = f"Bearer {key}"
        return client.post(BOLT, json=body | {"who": "Ada", "reason": "new lamp"})


def served_version(node: Node, key: str) -> str | None:
    """Return the version that serves bolts; None if the node does not answer."""
    try:
        with httpx.Client(base_url=node.url, timeout=2) as client:
            client.headers["authorization"] = f"Bearer {key}"
            return str(client.get(BOLT).json()["stable"]["version"])
    except httpx.TransportError:
        return None
