"""A line that posts parts at a steady rate, and posts each again until it is answered.

Parts that could not be posted in time, as while the service starts, are posted as soon as possible.
"""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from service.archive.identifiers import new_id

STATIONS = 4
_THREADS = 16
_AGAIN_S = 0.5
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a part: its decision, and how long the last try took."""

    posted_at: float
    seconds: float
    decision: str
    tries: int


class Line:
    """Posts images of several stations in turn; `answers` are by inspection id."""

    def __init__(self, url: str, images: Sequence[tuple[str, bytes]], parts_per_s: float) -> None:
        self.answers: dict[str, Answer] = {}
        self._url = url
        self._images = images
        self._interval_s = 1 / parts_per_s
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._done = threading.Event()

    @contextmanager
    def posting(self) -> Iterator[None]:
        """Post until the block ends; then wait until every part is answered."""
        self._next_at = time.monotonic()
        threads = [threading.Thread(target=self._run) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_S) as client:
            while not self._done.is_set():
                with self._lock:
                    at = self._next_at = self._next_at + self._interval_s
                    number = next(self._numbers)
                if self._done.wait(max(0.0, at - time.monotonic())):
                    return
                self._post(client, number)

    def _post(self, client: httpx.Client, number: int) -> None:
        """Post a part until it is answered and recorded."""
        identifier = str(new_id())
        category, content = self._images[number % len(self._images)]
        part = {
            "category": category,
            "station": f"station {number % STATIONS}",
            "part_id": str(number),
        }
        posted_at = time.monotonic()
        for tries in itertools.count(1):
            started = time.monotonic()
            try:
                response = client.post(
                    "/detect", params=part, content=content,
                    headers={"X-Inspection-ID": identifier},
                )  # fmt: skip
            except httpx.TransportError:
                time.sleep(_AGAIN_S)
                continue
            if response.headers.get("X-Archived") == "true":
                seconds = time.monotonic() - started
                decision = response.headers["X-Decision"]
                self.answers[identifier] = Answer(posted_at, seconds, decision, tries)
                return
            time.sleep(_AGAIN_S)
