"""Posts one image again and again, and checks each answer."""

import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.clustering.nodes import PATIENCE_S
from benchmarks.loading import CannotMeasure
from benchmarks.loading.subject import inspected, read_bodies, served_categories

CLIENTS = 8


class Poster:
    """Posts one image to a service; threads may share it.

    All processes of the service name one of the `folders`.
    """

    def __init__(self, url: str, images: Path, folders: Sequence[Path] = ()) -> None:
        self.url = url
        self.folders = folders
        (self._category,) = served_categories(url, {})
        self._body = read_bodies(images, [self._category])[self._category][0]
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S, limits=limits)
        self.expected = self.post()
        if self.expected is None:
            raise CannotMeasure("the first image was not inspected")

    def post(self) -> tuple[str, float] | None:
        """Return the decision and the raw score; None if UNDECIDED."""
        return inspected(self._client, self._category, self._body)

    def timed_ms(self) -> float:
        """Return the milliseconds of a post, which must be answered as the first one was."""
        started = time.perf_counter()
        result = self.post()
        seconds = time.perf_counter() - started
        self.check(result)
        return 1000 * seconds

    def check(self, result: tuple[str, float] | None) -> None:
        """Raise `CannotMeasure` for another result than the first."""
        assert self.expected is not None
        if result is None or result[0] != self.expected[0]:
            raise CannotMeasure(f"{result} instead of {self.expected}")
        if abs(result[1] - self.expected[1]) > 1e-5 * abs(self.expected[1]):
            raise CannotMeasure(f"{result} instead of {self.expected}")
