"""`mambaad station run`: the station, its status page, and a line for people at a terminal."""

import asyncio
import logging
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TextIO

import typer

from service.client import AsyncClient
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.verdicts import Verdict
from service.station.pages.server import CannotListen, StatusPages
from service.station.plc.door import DoorClosed
from service.station.plc.opening import open_door
from service.station.reports import PartReport, Watcher
from service.station.settings import StationSettings
from service.station.spool import SpoolFailure, SpoolUnusable
from service.station.station import Station
from service.station.supervision import Supervisor
from service.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from typing import NoReturn

logger = logging.getLogger("service.running")

_EVERY_S = 1.0
_CLEAR_LINE = "\r\x1b[2K"


async def run_station(
    settings: StationSettings,
    open_client: Callable[[], AsyncClient],
    refuse: "Callable[[str], NoReturn]",
) -> int:
    """Run the station until a signal; return the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor()
    pages = _listen(settings, open_client)
    line = AliveLine(sys.stdout) if sys.stdout.isatty() else None
    watchers: list[Watcher] = [*(pages.watchers if pages else ()), *([line] if line else ())]
    async with open_client() as client:
        door = partial(open_door, settings.plc, station=settings, client=client)
        try:
            station = Station(settings, client, door, watchers)
            await station.open()
        except (SpoolFailure, SpoolUnusable, DoorClosed) as error:
            if pages is not None:
                pages.close()
            refuse(str(error))
        if pages is not None:
            pages.start(station.vitals)
        typer.echo(
            f"Station {settings.name} on {station.door.address}, service {client.url}; "
            f"{station.waiting} parts in the spool. It is no safety function."
        )
        supervisor.notify("READY=1")
        await _until(stop, supervisor, line, station)
        supervisor.notify("STOPPING=1")
        await station.close()
        if pages is not None:
            await asyncio.to_thread(pages.close)
    return 0


def configure_logs(level: str, form: str) -> None:
    """Send logs to standard error; at a terminal, above the line that shows the station's life."""
    stream = _AboveTheLine(sys.stderr) if sys.stdout.isatty() else None
    configure_logging(level, form, stream)  # type: ignore[arg-type] # only `write` and `flush`


class AliveLine:
    """A watcher that counts results, and shows the station in one line of the terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._counts: Counter[Verdict] = Counter()
        self._image = StationImage(online=False)
        self._latest = ""

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Note the state."""
        self._image = image

    def part_told(self, report: PartReport) -> None:
        """Count a result."""
        outcome = report.part.told
        assert outcome is not None
        self._counts[outcome.verdict] += 1
        name = "".join(c if c.isprintable() else "?" for c in report.part.part_id)
        self._latest = f"{name} {outcome.verdict.name} in {report.times.told_ms or 0:.0f} ms"

    def alarm(self, code: ErrorCode) -> None:
        """Do nothing: the log has the errors."""

    def text(self, missed: int, waiting: int) -> str:
        """Return the line."""
        counts = ", ".join(
            f"{count} {verdict.name}" for verdict, count in sorted(self._counts.items())
        )
        parts = [
            f"{datetime.now().astimezone():%H:%M:%S} {self._image.state.name}",
            f"recipe {self._image.recipe or 'none'}",
            counts or "no result yet",
            f"{missed} missed",
            f"spool {waiting}",
            *([self._latest] if self._latest else []),
        ]
        return " | ".join(parts)

    async def run(self, station: Station) -> None:
        """Show the line every second, until it is cancelled."""
        try:
            while True:
                text = self.text(station.vitals().missed_triggers, station.waiting)
                width = shutil.get_terminal_size().columns
                self._stream.write(f"{_CLEAR_LINE}{text[: width - 1]}")
                self._stream.flush()
                await asyncio.sleep(_EVERY_S)
        finally:
            self._stream.write("\n")
            self._stream.flush()


class _AboveTheLine:
    """A stream whose lines replace the one that shows the station's life."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, after clearing the line."""
        return self._stream.write(text if text == "\n" else f"{_CLEAR_LINE}{text}")

    def flush(self) -> None:
        """Write everything to the terminal."""
        self._stream.flush()


def _listen(
    settings: StationSettings, open_client: Callable[[], AsyncClient]
) -> StatusPages | None:
    """Take the page's port, and print its address; a port that is taken stops no station."""
    if not settings.status.is_on:
        return None
    pages = StatusPages(settings, open_client)
    try:
        pages.listen()
    except CannotListen as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says all
        return None
    typer.echo(f"Status page: {pages.url}")
    return pages


async def _until(
    stop: asyncio.Event, supervisor: Supervisor, line: AliveLine | None, station: Station
) -> None:
    """Wait for the signal; tell systemd and the terminal meanwhile."""
    background = [asyncio.create_task(supervisor.run())]
    if line is not None:
        background.append(asyncio.create_task(line.run(station)))
    await stop.wait()
    for task in background:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
