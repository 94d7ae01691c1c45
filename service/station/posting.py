"""Posts what the line was told, with the images, until the service has archived it.

poster = Poster(settings, client, spool, write=in_the_spool_thread)
poster.add(part.job)
await poster.run()
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.client import (
    AsyncClient,
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    ImageRefused,
    InspectionError,
    InspectionFailed,
    InvalidRequest,
    Unavailable,
)
from service.station.inspecting import part_fields
from service.station.outcomes import told_of, told_reason_of
from service.station.parts import PartInspection, SpooledPart
from service.station.settings import StationSettings
from service.station.spool import Spool, SpoolFailure

logger = logging.getLogger("service.posting")

PASSING = (CannotConnect, ConnectionLost, DeadlineExceeded, Unavailable)
"""Errors that waiting may end."""
_BLAMES_IMAGES = (ImageRefused, InspectionFailed, InvalidRequest)
_NO_ARCHIVE = "no-archive"
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_TIMEOUT_MS = 30_000.0

Write = Callable[..., Awaitable[None]]
"""Awaits a method of the spool, which runs in the spool's thread."""


class Poster:
    """Posts one part after another; a part that is refused waits behind all others."""

    def __init__(
        self, settings: StationSettings, client: AsyncClient, spool: Spool, write: Write
    ) -> None:
        self._station = settings.name
        self._client = client
        self._spool = spool
        self._write = write
        self._jobs: asyncio.Queue[int] = asyncio.Queue()
        self._without_images: set[str] = set()
        self._pause_s = _FIRST_PAUSE_S

    def add(self, job: int) -> None:
        """Have a part posted; the line was told its outcome, which changes no more."""
        self._jobs.put_nowait(job)

    async def run(self) -> None:
        """Post until it is cancelled."""
        while True:
            job = await self._jobs.get()
            if await self._post(job):
                self._pause_s = _FIRST_PAUSE_S
            else:
                self._jobs.put_nowait(job)
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)

    async def _post(self, job: int) -> bool:
        """Post the inspections of a part that are not archived; return whether all of them are."""
        part = self._spool.find(job)
        if part is None:
            return True
        done = True
        for inspection in part.inspections:
            if inspection.is_archived:
                continue
            try:
                await self._record(part, inspection)
                await self._write(self._spool.archived, job, inspection.inspection_id)
            except InspectionError as error:
                self._refused(part, inspection, error)
                done = False
            except SpoolFailure as error:
                logger.warning("part %s: %s", part.part_id, error)
                done = False
            except Exception:  # one part must not end the posting of all others
                logger.exception("part %s was not posted", part.part_id)
                done = False
        return done

    async def _record(self, part: SpooledPart, inspection: PartInspection) -> None:
        """Record an inspection. Raises `InspectionError`, or `SpoolFailure`."""
        assert part.told is not None
        images = await asyncio.to_thread(self._images, part, inspection)
        await self._client.record(
            list(images.values()) or None,
            category=inspection.category,
            told=told_of(part.told),
            told_reason=told_reason_of(part.told),
            inspection_id=inspection.inspection_id,
            captured_at=part.triggered_at,
            timeout_ms=_TIMEOUT_MS,
            **part_fields(part, self._station, tuple(images)),
        )

    def _images(self, part: SpooledPart, inspection: PartInspection) -> dict[str, bytes]:
        """Return the images by camera; a camera that was silent has none."""
        if inspection.inspection_id in self._without_images:
            return {}
        images = {camera: self._spool.image(part.job, camera) for camera in inspection.cameras}
        return {camera: image for camera, image in images.items() if image is not None}

    def _refused(
        self, part: SpooledPart, inspection: PartInspection, error: InspectionError
    ) -> None:
        """Note an error; a part whose images the service refuses is posted without them."""
        if isinstance(error, PASSING):
            logger.info("part %s waits for the service: %s", part.part_id, error)
            return
        if isinstance(error, InvalidRequest) and error.kind == _NO_ARCHIVE:
            logger.error(
                "part %s stays in the spool, because the service has no archive: switch its "
                "archive on, or name another service",
                part.part_id,
            )
            return
        logger.error("the service refused part %s: %s", part.part_id, error)
        if isinstance(error, _BLAMES_IMAGES):
            self._without_images.add(inspection.inspection_id)
