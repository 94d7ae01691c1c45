"""Writes the images and maps of a part, as far as they are kept.

files = await writer.write(part, result, attempts)      # durable when it returns
writer.release(files)                                   # the row is committed, or never will be
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TypeVar
from uuid import UUID

from PIL.Image import Image

from model.inspection import Decision
from service.archive.media import MAP_SUFFIX, Media
from service.archive.recording.entries import ViewFiles
from service.archive.records import MediaState
from service.errors import ServiceError
from service.inspection.images.sources import (
    Fingerprint,
    Source,
    content_of,
    fingerprint_of,
    size_of,
)
from service.inspection.request import PartRequest
from service.inspection.result import Attempt, Inspected, PartResult

T = TypeVar("T")

_THREADS = 4


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files of a part's views, under the day of their folder."""

    day: date
    views: Sequence[ViewFiles]


class MediaWriter:
    """Writes files in threads of its own, so that a slow disk delays nothing else.

    `shares` are the fractions of parts whose images and maps are kept, by decision.
    """

    def __init__(self, media: Media, shares: Mapping[str, float]) -> None:
        self._media = media
        self._shares = {Decision(name): share for name, share in shares.items()}
        self._threads = ThreadPoolExecutor(_THREADS, "media")

    def kept(self, inspection_id: UUID) -> frozenset[Decision]:
        """Return the decisions with which this part would be kept.

        A hash of the id chooses, so that it is known before the decision.
        """
        place = zlib.crc32(inspection_id.bytes) / 2**32
        return frozenset(d for d, share in self._shares.items() if place < share)

    def without_writing(
        self, part: PartRequest, result: PartResult, attempts: Sequence[Attempt], day: date
    ) -> PartFiles | None:
        """Like `write` for a part of which nothing is kept; None if `write` is needed."""
        if self._keeps(part, result) or not all(attempt.fingerprint for attempt in attempts):
            return None
        return PartFiles(day, [_not_sampled(attempt) for attempt in attempts])

    async def write(
        self, part: PartRequest, result: PartResult, attempts: Sequence[Attempt], day: date
    ) -> PartFiles:
        """Write the files of a part that is kept; return what became of each view's."""
        is_kept = self._keeps(part, result)
        views = [
            self._write_view(source, attempt, day, is_kept=is_kept)
            for source, attempt in zip(part.views, attempts, strict=True)
        ]
        if len(views) == 1 or not is_kept:  # saves tasks
            return PartFiles(day, [await view for view in views])
        return PartFiles(day, await asyncio.gather(*views))

    def bytes_kept(self, part: PartRequest, result: PartResult) -> int:
        """Return the bytes of the images that `write` would keep."""
        return sum(map(size_of, part.views)) if self._keeps(part, result) else 0

    def release(self, files: PartFiles) -> None:
        """Let the retention delete the files, if no row has them."""
        for view in files.views:
            for sha256, state in (
                (view.sha256, view.image_state),
                (view.map_sha256, view.map_state),
            ):
                if sha256 is not None and state is MediaState.KEPT:
                    self._media.release(sha256, files.day)

    async def fingerprints(self, sources: Sequence[Source | Image]) -> list[Fingerprint | None]:
        """Return the fingerprints of images; None for one that is not base64."""
        return await self.run(lambda: [_fingerprint(source) for source in sources])

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call that uses the disk in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Wait for the writes that have begun; blocks."""
        self._threads.shutdown()

    def _keeps(self, part: PartRequest, result: PartResult) -> bool:
        told = part.submission.told
        decisions = {result.decision} | ({told.decision} if told else set())
        return not decisions.isdisjoint(self.kept(part.submission.inspection_id))

    async def _write_view(
        self, source: Source | Image, attempt: Attempt, day: date, *, is_kept: bool
    ) -> ViewFiles:
        was_inspected = isinstance(attempt.result, Inspected)
        without = MediaState.NOT_SAMPLED if was_inspected else MediaState.MISSING
        if not is_kept:
            return ViewFiles(*await self._not_kept(source, attempt.fingerprint), None, without)
        image, (map_sha256, map_state) = await asyncio.gather(
            self.run(partial(self._put_image, source, day)),
            self._put_map(attempt.map_file, day, without),
        )
        return ViewFiles(*image, map_sha256, map_state)

    def _put_image(
        self, source: Source | Image, day: date
    ) -> tuple[str | None, int | None, MediaState]:
        try:
            content = content_of(source)
        except ServiceError:  # not base64
            return None, None, MediaState.MISSING
        sha256, state = self._media.put(content, day)
        return sha256, len(content), state

    async def _not_kept(
        self, source: Source | Image, fingerprint: Fingerprint | None
    ) -> tuple[str | None, int | None, MediaState]:
        if fingerprint is None:  # it was not decoded
            (fingerprint,) = await self.fingerprints([source])
        if fingerprint is None:
            return None, None, MediaState.MISSING
        return fingerprint.sha256, fingerprint.nbytes, MediaState.NOT_SAMPLED

    async def _put_map(
        self, content: bytes | None, day: date, without: MediaState
    ) -> tuple[str | None, MediaState]:
        if content is None:
            return None, without
        return await self.run(partial(self._media.put, content, day, MAP_SUFFIX))


def _not_sampled(attempt: Attempt) -> ViewFiles:
    """Return what becomes of a view whose image is known, but not kept."""
    image = attempt.fingerprint
    assert image is not None
    was_inspected = isinstance(attempt.result, Inspected)
    map_state = MediaState.NOT_SAMPLED if was_inspected else MediaState.MISSING
    return ViewFiles(image.sha256, image.nbytes, MediaState.NOT_SAMPLED, None, map_state)


def _fingerprint(source: Source | Image) -> Fingerprint | None:
    with suppress(ServiceError):
        return fingerprint_of(content_of(source))
    return None
