"""A camera that takes images all the time: the part gets the first one taken after its trigger."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeAlias

from service.station.cameras.camera import CameraSilent, Frame, Shot, Take
from service.station.cameras.encoding import encoded
from service.station.cameras.reading import Reader, Want
from service.station.cameras.sources.source import FrameSource, Pixels
from service.station.settings import EncodedFrames

_Answer: TypeAlias = "asyncio.Future[tuple[Pixels | bytes, float] | None]"
"""An image and the time after which it was taken; None: the next part has begun."""

_END_S = 1.0
_MAX_HANGING = 3
"""Threads whose driver does not return are left behind, but no more than this."""


class StreamingCamera:
    """Keeps a reader on a source; nothing that a driver does makes the event loop wait."""

    def __init__(
        self,
        name: str,
        make_source: Callable[[], FrameSource],
        encoding: EncodedFrames,
        timeout_ms: float,
        latency_ms: float = 0,
    ) -> None:
        self._name = name
        self._make_source = make_source
        self._encoding = encoding
        self._timeout_s = timeout_ms / 1_000
        self._latency_s = latency_ms / 1_000
        self._reader: Reader | None = None
        self._hanging = 0
        self._armed: _Answer | None = None

    @property
    def is_up(self) -> bool | None:
        """Whether images come; None before the first attempt to connect."""
        return None if self._reader is None else self._reader.is_up

    async def open(self) -> None:
        """Start the thread that reads."""
        self._running_reader()

    async def arm(self, shot: Shot) -> Take:
        """End the wait of the part before; images that exist now never count."""
        self._running_reader()
        if self._armed is not None and not self._armed.done():
            self._armed.set_result(None)
        self._armed = asyncio.get_running_loop().create_future()
        return partial(self._take, self._armed)

    async def close(self) -> None:
        """Stop the thread; one whose driver does not return is left behind."""
        if self._reader is not None:
            self._reader.stop()
            await asyncio.to_thread(self._reader.join, _END_S)
            self._reader = None

    async def _take(self, armed: _Answer) -> Frame:
        """Return the first image taken from now on. Raises `CameraSilent`."""
        reader = self._running_reader()
        loop = asyncio.get_running_loop()

        def deliver(image: Pixels | bytes, taken_after_s: float) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_resolve, armed, (image, taken_after_s))

        want = Want(time.monotonic() + self._latency_s, deliver)
        if not armed.done():
            reader.want(want)
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await armed
        except TimeoutError:
            reason = reader.problem or "no new image"
            raise CameraSilent(
                f"camera {self._name}: {reason}, within {self._timeout_s * 1_000:g} ms"
            ) from None
        finally:
            reader.forget(want)
        if taken is None:
            raise CameraSilent(f"camera {self._name}: no image before the next trigger")
        image, taken_after_s = taken
        age = timedelta(seconds=time.monotonic() - taken_after_s + self._latency_s)
        captured_at = datetime.now(UTC) - age
        return Frame(await asyncio.to_thread(encoded, image, self._encoding), captured_at)

    def _running_reader(self) -> Reader:
        """Return the reader; one whose driver hangs is replaced."""
        if self._reader is not None and self._reader.hangs and self._hanging < _MAX_HANGING:
            self._reader.stop()
            self._reader = None
            self._hanging += 1
        if self._reader is None:
            self._reader = Reader(self._name, self._make_source())
        return self._reader


def _resolve(armed: _Answer, result: tuple[Pixels | bytes, float]) -> None:
    if not armed.done():
        armed.set_result(result)
