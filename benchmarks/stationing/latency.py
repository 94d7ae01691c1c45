"""How long a part takes from its trigger to its result, with and without the service's own time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loading import CannotMeasure
from benchmarks.loading.subject import read_bodies
from benchmarks.stationing.doors import DOORS, Plc
from benchmarks.stationing.site import StationProcess, free_port
from service.client import AsyncClient, Result
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.plc.opening import open_door
from service.station.reports import PartReport
from service.station.station import Station
from service.station.station_file import read_station_file

OWN_LIMIT_MS = 20.0
TAKT_MS = 100.0
_WARM_UP = 0.1
"""Share of the parts that are left out."""


@dataclass(slots=True)
class Part:
    """Seconds of the loop's clock; the service and the camera are somebody else's time."""

    triggered_at: float
    shown_at: float = 0.0
    acknowledged_at: float = 0.0
    exposed_at: float = 0.0
    service_s: float = 0.0

    @property
    def whole_ms(self) -> float:
        """From the trigger, as the station saw it, to ResultsValid; without the camera's time."""
        camera_s = max(0.0, self.exposed_at - self.acknowledged_at)
        return 1_000 * (self.shown_at - self.triggered_at - camera_s)

    @property
    def own_ms(self) -> float:
        """The same without the service's time."""
        return self.whole_ms - 1_000 * self.service_s


class TimedClient(AsyncClient):
    """Adds up the time of requests."""

    spent_s = 0.0

    async def detect(self, *arguments: Any, **options: Any) -> list[Result]:  # noqa: ANN401
        """Inspect, and note how long the service took, the way to it included."""
        began = asyncio.get_running_loop().time()
        try:
            return await super().detect(*arguments, **options)
        finally:
            self.spent_s += asyncio.get_running_loop().time() - began


@dataclass(slots=True)
class Stopwatch:
    """A watcher: times each part by what the PLC can read, and plays the camera."""

    files: StationProcess
    bodies: Sequence[bytes]
    client: TimedClient
    parts: list[Part] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    _before: StationImage = field(default_factory=StationImage)
    _exposing: set[asyncio.Task[None]] = field(default_factory=set)

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Note the moments of the part in work."""
        before, self._before = self._before, image
        now = asyncio.get_running_loop().time()
        if image.busy and not before.busy:
            self.parts.append(Part(now))
            self.client.spent_s = 0.0
        if image.trigger_ack and not before.trigger_ack:
            self.parts[-1].acknowledged_at = now
            task = asyncio.create_task(self._expose(self.parts[-1], inputs.trigger_number))
            self._exposing.add(task)
            task.add_done_callback(self._exposing.discard)
        if image.results_valid and not before.results_valid:
            self.parts[-1].shown_at = now
            self.parts[-1].service_s = self.client.spent_s

    def part_told(self, report: PartReport) -> None:
        """Note the verdict."""
        assert report.part.told is not None
        self.verdicts.append(report.part.told.verdict.name)

    def alarm(self, code: ErrorCode) -> None:
        """Fail: a measurement without errors is wanted."""
        raise CannotMeasure(f"the station has the error {code.name}")

    async def _expose(self, part: Part, number: int) -> None:
        content = self.bodies[number % len(self.bodies)]
        await asyncio.to_thread(self.files.write_image, number, content)
        part.exposed_at = asyncio.get_running_loop().time()


async def measure(
    folder: Path, url: str, category: str, images: Path, door: str, parts: int
) -> dict[str, Any]:
    """Trigger parts one after another at a station in this process; return its times."""
    side = DOORS[door]
    port = free_port()
    settings = {
        "plc": side.settings(port),
        "recipes": {"1": {"categories": {"top": category}}},
        "times": {"takt_ms": 10_000},
    }
    files = StationProcess("EL-1", folder / "EL-1", settings)
    bodies = read_bodies(images, [category])[category]
    client = TimedClient(url)
    stopwatch = Stopwatch(files, bodies, client)
    read = read_station_file(files.file)
    # An image that comes again and again is none of a frozen camera here.
    cameras = {
        name: camera.model_copy(update={"frozen_check": False})
        for name, camera in read.cameras.items()
    }
    read = read.model_copy(update={"cameras": cameras})
    station = Station(
        read,
        client,
        partial(open_door, read.plc, station=read, client=client),
        [stopwatch],
    )
    await station.open()
    plc = Plc(side, files.file, parts)
    try:
        await asyncio.to_thread(plc.wait)
    finally:
        plc.end()
        await station.close()
        await client.close()
    return summary(stopwatch, door)


def summary(stopwatch: Stopwatch, door: str) -> dict[str, Any]:
    """Return the percentiles of all parts after the warm-up. Raises `CannotMeasure`."""
    parts = stopwatch.parts[round(_WARM_UP * len(stopwatch.parts)) :]
    if len(parts) < 10 or any(not part.shown_at for part in parts):
        raise CannotMeasure(f"too few parts: {len(parts)}")
    whole = [part.whole_ms for part in parts]
    return {
        "door": door,
        "parts": len(parts),
        "verdicts": {name: stopwatch.verdicts.count(name) for name in set(stopwatch.verdicts)},
        "own_ms": _percentiles([part.own_ms for part in parts]),
        "end_to_end_ms": _percentiles(whole),
        "within_takt": round(sum(value <= TAKT_MS for value in whole) / len(whole), 4),
        "takt_ms": TAKT_MS,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)}
