"""Records parts in the journal, and answers repeated ids from it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from uuid import UUID

import numpy as np
from jaxtyping import Float32

from model.inspection import Decision
from service.archive import store
from service.archive.journal import AlreadyRecorded, Journal
from service.archive.media import MAP_SUFFIX, Media, MediaError
from service.archive.recording.entries import (
    blank_entry,
    completed,
    entry_of,
    is_open,
    merged,
    received_at,
    refusal,
    result_of,
    with_told,
)
from service.archive.recording.later import LaterWrites
from service.archive.recording.problems import difference_of, is_refused, late, reused, unstable
from service.archive.recording.writing import MediaWriter
from service.archive.records import InspectionRecord, MediaState, ViewRecord
from service.errors import (
    JournalUnavailable,
)
from service.inspection.images.maps import read_map
from service.inspection.request import PartRequest
from service.inspection.result import Attempt, PartResult, problem_of_part
from service.inspection.submission import Submission, Told
from service.settings.archive import ArchiveSettings

logger = logging.getLogger("service.recorder")

_MAX_CHANGES = 10
"""Changes of one inspection by others that a write of it survives."""


class Recorder:
    """Implements `PartRecorder`; belongs to one event loop.

    `fail_safe` is what the line does with an UNDECIDED part.
    """

    def __init__(
        self, journal: Journal, media: Media, settings: ArchiveSettings, fail_safe: str
    ) -> None:
        self._journal = journal
        self._media = media
        self._writer = MediaWriter(media, settings.keep_images)
        self._fail_safe = fail_safe
        self._must_record = settings.on_failure == "refuse"
        self._later: LaterWrites | None = None
        if settings.durability == "after_answer":
            self._later = LaterWrites(settings.max_pending)
        self._telling: set[asyncio.Task[object]] = set()

    @property
    def failure(self) -> str | None:
        """Why inspections cannot be recorded now; None while they can be."""
        return self._journal.failure

    def refusing(self) -> str | None:
        """Say why every part is refused now, as `on_failure` demands; None while none is."""
        return self._journal.failure if self._must_record else None

    def maps_of(self, submission: Submission) -> frozenset[Decision]:
        """Return the decisions for which the maps of a part are kept."""
        kept = self._writer.kept(submission.inspection_id)
        told = submission.told
        return frozenset(Decision) if told is not None and told.decision in kept else kept

    async def recall(self, part: PartRequest, deadline: float) -> PartResult | None:
        """Return the journaled result of a part's id; see `PartRecorder.recall`."""
        inspection_id = part.submission.inspection_id
        if self._later is not None:
            await self._later.settle(inspection_id, deadline)
        try:
            before = await self._writer.run(partial(self._find, inspection_id))
        except JournalUnavailable:
            if self._must_record:
                raise
            return None
        return None if before is None else await self._repeat(part, before, deadline)

    async def record(
        self, part: PartRequest, result: PartResult, attempts: Sequence[Attempt], deadline: float
    ) -> PartResult:
        """Record a part; see `PartRecorder.record`."""
        worst = result.worst_error
        if worst is not None and is_refused(result) and part.submission.told is None:
            self.refuse(part, *problem_of_part(result.errors[worst]))
            return result
        write = partial(self._record, part, result, attempts)
        if self._later is None:
            return await write(deadline)
        if self._must_record and (failure := self._journal.failure):
            raise JournalUnavailable(failure)
        kept_bytes = self._writer.bytes_kept(part, result)
        await self._later.start(part.submission.inspection_id, write, kept_bytes, deadline)
        return result

    def refuse(self, part: PartRequest, slug: str, detail: str) -> None:
        """Record a part that got a problem; see `PartRecorder.refuse`."""
        entry = refusal(part, self._fail_safe, received_at(part), slug, detail)
        if part.submission.told is None:
            self._journal.record_soon(entry)
            return
        # The client tells what happened on the line, which no flood may swallow.
        task = asyncio.create_task(self._tell_later(part, entry))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def tell(
        self, part: PartRequest, deadline: float, error: Exception | None = None
    ) -> InspectionRecord:
        """Record what the line was told of a part, without its images; durable when it returns.

        `error` is why its images were not inspected. Raises `InspectionIdReused`,
        `DeadlineExceeded` or `JournalUnavailable`.
        """
        if self._later is not None:
            await self._later.settle(part.submission.inspection_id, deadline)
        moment = received_at(part)
        if error is None:
            entry = blank_entry(part, self._fail_safe, moment)
        else:
            entry = refusal(part, self._fail_safe, moment, *problem_of_part(error))
        return await self._told(part, entry, deadline)

    async def find(self, inspection_id: UUID) -> InspectionRecord | None:
        """Return an inspection of the journal. Raises `JournalUnavailable`."""
        return await self._writer.run(partial(self._find, inspection_id))

    async def close(self) -> None:
        """Wait until everything is written."""
        if self._later is not None:
            await self._later.close()
        while self._telling:
            await asyncio.wait(self._telling)
        await asyncio.to_thread(self._writer.close)

    async def _record(
        self,
        part: PartRequest,
        result: PartResult,
        attempts: Sequence[Attempt],
        deadline: float,
    ) -> PartResult:
        """Write a part's files, then its row; both are durable when this returns."""
        moment = received_at(part)
        try:
            day = moment.astimezone(UTC).date()
            files = self._writer.without_writing(part, result, attempts, day)
            if files is None:
                async with asyncio.timeout_at(deadline):
                    files = await self._writer.write(part, result, attempts, day)
            try:
                entry = entry_of(part, result, files.views, self._fail_safe, moment)
                try:
                    await self._journal.record(entry, deadline)
                except AlreadyRecorded as existing:
                    return await self._replace(part, result, entry, existing.record, deadline)
            finally:
                self._writer.release(files)
        except TimeoutError as error:
            raise late() from error
        except JournalUnavailable:
            if self._must_record:
                raise
            return replace(result, archived=False)
        return replace(result, archived=True)

    async def _replace(
        self,
        part: PartRequest,
        result: PartResult,
        entry: InspectionRecord,
        before: InspectionRecord,
        deadline: float,
    ) -> PartResult:
        """Write a result over a part that was recorded undecided; else return the journal's."""
        for _ in range(_MAX_CHANGES):
            if (earlier := await self._repeat(part, before, deadline)) is not None:
                return earlier
            try:
                await self._journal.update(before, merged(before, entry), deadline)
            except AlreadyRecorded as changed:
                before = changed.record
            except KeyError:  # the retention deleted it
                break
            else:
                return replace(result, archived=True)
        raise unstable(before)

    async def _repeat(
        self, part: PartRequest, before: InspectionRecord, deadline: float
    ) -> PartResult | None:
        """Return the result in a record, once it says what the line was told; None if undecided.

        Raises `InspectionIdReused`.
        """
        await self._check_same(part, before)
        if is_open(before):
            return None
        if part.submission.told is not None:
            before = await self._update_told(before, part.submission.told, deadline)
        maps = None
        if part.options.wants_map:
            maps = await self._writer.run(partial(self._maps_of, before))
        return result_of(before, part, maps)

    async def _check_same(self, part: PartRequest, before: InspectionRecord) -> None:
        """Raise `InspectionIdReused` if a record is of another part than the request."""
        if (difference := difference_of(before, part, is_open=is_open(before))) is not None:
            raise reused(before, difference)
        if before.views and part.views:
            images = await self._writer.fingerprints(part.views)
            if [image and image.sha256 for image in images] != [
                view.image_sha256 for view in before.views
            ]:
                raise reused(before, "has other images")

    async def _told(
        self, part: PartRequest, entry: InspectionRecord, deadline: float
    ) -> InspectionRecord:
        """Record an entry, or only what it says that the line was told if its id is recorded."""
        told = part.submission.told
        assert told is not None
        try:
            await self._journal.record(entry, deadline)
        except AlreadyRecorded as existing:
            await self._check_same(part, existing.record)
            return await self._update_told(existing.record, told, deadline, entry)
        except TimeoutError as error:
            raise late() from error
        return entry

    async def _tell_later(self, part: PartRequest, entry: InspectionRecord) -> None:
        try:
            await self._told(part, entry, LaterWrites.deadline())
        except Exception as error:
            logger.error(  # noqa: TRY400 - it says why
                "inspection %s could not be recorded: %s", entry.inspection_id, error
            )

    async def _update_told(
        self,
        before: InspectionRecord,
        told: Told,
        deadline: float,
        entry: InspectionRecord | None = None,
    ) -> InspectionRecord:
        """Write what the line was told; `entry` has the fields that the record may lack."""
        for _ in range(_MAX_CHANGES):
            after = with_told(before if entry is None else completed(before, entry), told)
            if after == before:
                return before
            try:
                await self._journal.update(before, after, deadline)
            except AlreadyRecorded as changed:
                before = changed.record
            except KeyError:  # the retention deleted it
                break
            except TimeoutError as error:
                raise late() from error
            else:
                return after
        raise unstable(before)

    def _find(self, inspection_id: UUID) -> InspectionRecord | None:
        with self._journal.reading() as connection:
            return store.find(connection, inspection_id)

    def _maps_of(self, record: InspectionRecord) -> list[Float32[np.ndarray, "h w"] | None]:
        return [self._map_of(record, view) for view in record.views]

    def _map_of(
        self, record: InspectionRecord, view: ViewRecord
    ) -> Float32[np.ndarray, "h w"] | None:
        if view.map_state is not MediaState.KEPT or view.map_sha256 is None:
            return None
        day = record.received_at.astimezone(UTC).date()
        try:
            return read_map(self._media.read(view.map_sha256, day, MAP_SUFFIX))
        except MediaError:
            return None
