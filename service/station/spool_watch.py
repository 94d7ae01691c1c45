"""Looks every second whether the spool's folder is there, so that its loss shows before a trigger.

watch = SpoolWatch(spool, write=in_the_spool_thread, hear=station.hear)
await watch.run()
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.station.machine.events import NO_JOB, Event, SpoolFailed
from service.station.spool import Spool, SpoolFailure

logger = logging.getLogger("service.spoolwatch")

LOOK_EVERY_S = 1.0


class SpoolWatch:
    """Reports the loss of the folder, and goes on in it as soon as it is back."""

    def __init__(
        self, spool: Spool, write: Callable[..., Awaitable[None]], hear: Callable[[Event], None]
    ) -> None:
        self._spool = spool
        self._write = write
        self._hear = hear
        self._failure = ""

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        """Look once. A folder that is not back yet latches its error again."""
        try:
            await self._write(self._spool.look)
        except SpoolFailure as error:
            failure = str(error)
            self._hear(SpoolFailed(NO_JOB, error.code))
            try:
                await self._write(self._spool.reopen)
            except SpoolFailure as still:
                failure = str(still)
            self._say(failure)
        else:
            self._say("")

    def _say(self, failure: str) -> None:
        """Log each failure once, and that it has ended."""
        if failure and failure != self._failure:
            logger.error(
                "%s: no part is taken; images that waited there are lost if the folder is",
                failure,
            )
        elif self._failure and not failure:
            logger.warning("the spool's folder can be used again: acknowledge the error")
        self._failure = failure
