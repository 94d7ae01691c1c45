"""Rough operation: two PLCs with delays, drops and restarts, while everything else is killed."""

import asyncio
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymodbus import pymodbus_apply_logging_config

from benchmarks.loading import CannotMeasure
from benchmarks.stationing.counting import NO_NUMBER, Count, count_station, read_rows, taken_of
from benchmarks.stationing.site import Process, Service, StationProcess, ended
from benchmarks.stationing.store import CATEGORY, noise_image, write_store
from service.station.simulating import SimulatedPlc, SimulatorSettings
from service.station.spool import Spool, SpoolLimits
from tests.service.station.proxy import Proxy

_STATIONS = ("EL-1", "EL-2")
_SEEDS_APART = 10_000_000
_STUCK_S = 180.0
_DRAIN_S = 180.0
_LOOK_S = 0.2
_TIMES = {"takt_ms": 2_000, "reserve_ms": 200, "ack_timeout_ms": 60_000}
_ROUGH_PLC = {"max_delay_ms": 5.0, "drops_early": 0.03, "acks_late": 0.1, "restarts": 0.003}

Show = Callable[[int], None]
"""Hears how many results the PLCs have."""


@dataclass(frozen=True, slots=True)
class Roughness:
    """Mean seconds between two faults of a kind, and the seed of all that is random."""

    seed: int = 0
    station_kill_s: float = 20.0
    service_kill_s: float = 60.0
    network_s: float = 5.0
    plc: Mapping[str, float] = field(default_factory=lambda: dict(_ROUGH_PLC))
    """Behaviour of the simulated PLC, as in `SimulatorSettings`."""


def calm() -> Roughness:
    """Return no roughness at all: the PLCs work at full speed."""
    return Roughness(plc={})


@dataclass(slots=True)
class Line:
    """A station, its PLC, and its way to the service."""

    station: StationProcess
    plc: SimulatedPlc
    proxy: Proxy
    number: int

    def image(self, part: int) -> bytes:
        """Return the image of a part; no other part of any line has it."""
        return noise_image(self.number * _SEEDS_APART + part)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The count, the seconds of triggering, and the number of faults of each kind."""

    count: Count
    seconds: float
    faults: dict[str, int]


async def run_rough(
    folder: Path, triggers: int, seconds: float | None, roughness: Roughness, show: Show
) -> Outcome:
    """Trigger so many parts, or for so long, then compare. Raises `CannotMeasure`."""
    pymodbus_apply_logging_config(logging.CRITICAL)  # it repeats that a station is away
    write_store(folder)
    service = Service(folder, folder / "weights", {"archive__keep_images": "OK=1,NG=1"})
    async with AsyncExitStack() as stack:
        lines = [
            await stack.enter_async_context(line_of(folder, service, number, triggers, roughness))
            for number in range(len(_STATIONS))
        ]
        stations = [line.station for line in lines]
        stack.enter_context(ended([service, *stations]))
        await asyncio.to_thread(service.start)
        await asyncio.gather(*(asyncio.to_thread(station.start) for station in stations))
        began = time.monotonic()
        faults = await _trigger(lines, service, seconds, roughness, show)
        triggered_s = time.monotonic() - began
        await drain(lines, service)
        count = await count_lines(lines, service)
    return Outcome(count, triggered_s, faults)


@asynccontextmanager
async def line_of(
    folder: Path, service: Service, number: int, triggers: int, roughness: Roughness
) -> AsyncIterator[Line]:
    """Make a line; the first station starts by itself, the other by its PLC's commands."""
    proxy = Proxy(service.url)
    async with proxy.listening() as url:
        starts_itself = number == 0
        settings = {
            "server": {"url": url},
            "times": _TIMES,
            "recipes": {"1": {"categories": {"top": CATEGORY}}},
        } | ({"autostart_recipe": 1} if starts_itself else {})
        station = StationProcess(_STATIONS[number], folder / _STATIONS[number], settings)
        share = triggers // len(_STATIONS) + (number < triggers % len(_STATIONS))
        simulator = SimulatorSettings(
            parts=share, seed=roughness.seed + number, commands=not starts_itself,
            time_limit_s=1e9, **roughness.plc,
        )  # fmt: skip

        async def expose(part: int) -> None:
            await asyncio.to_thread(station.write_image, part, line.image(part))

        plc = SimulatedPlc(("127.0.0.1", station.port), simulator, expose)
        line = Line(station, plc, proxy, number)
        yield line


async def _trigger(
    lines: Sequence[Line],
    service: Service,
    seconds: float | None,
    roughness: Roughness,
    show: Show,
) -> dict[str, int]:
    """Run the PLCs among faults; return the number of faults of each kind."""
    faults: Counter[str] = Counter()
    dice = random.Random(roughness.seed)

    def start(name: str, mean_s: float, do: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(_repeat(name, mean_s, do, dice, faults))

    kills = [
        start(f"kill of {line.station.name}", roughness.station_kill_s, _kill(line.station, dice))
        for line in lines
    ]
    kills.append(start("kill of the service", roughness.service_kill_s, _kill(service, dice)))
    troubles = [
        start(f"network of {line.station.name}", roughness.network_s, _trouble(line.proxy, dice))
        for line in lines
    ]
    running = [asyncio.create_task(line.plc.run()) for line in lines]
    try:
        await _watch(lines, running, [*kills, *troubles], seconds, show)
    finally:
        for task in [*troubles, *kills, *running]:
            task.cancel()
        await asyncio.gather(*troubles, *kills, *running, return_exceptions=True)
    return dict(faults)


async def _repeat(
    name: str,
    mean_s: float,
    do: Callable[[], Awaitable[None]],
    dice: random.Random,
    faults: Counter[str],
) -> None:
    """Do something again and again; a cancellation lets it end first."""
    while True:
        await asyncio.sleep(dice.expovariate(1 / mean_s))
        faults[name] += 1
        doing = asyncio.ensure_future(do())
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            await doing
            raise


def _kill(process: Process, dice: random.Random) -> Callable[[], Awaitable[None]]:
    async def kill() -> None:
        await asyncio.to_thread(process.end, signal.SIGKILL)
        await asyncio.sleep(dice.random())
        await asyncio.to_thread(process.start)

    return kill


def _trouble(proxy: Proxy, dice: random.Random) -> Callable[[], Awaitable[None]]:
    async def trouble() -> None:
        match dice.randrange(4):
            case 0:
                proxy.cut()
            case 1:
                proxy.go()
            case 2:
                proxy.delay_s = dice.uniform(0.1, 3.0)
            case _:
                proxy.swallows = True
        await asyncio.sleep(dice.uniform(0.1, 2.0))
        proxy.is_away = proxy.swallows = False
        proxy.delay_s = 0.0

    return trouble


async def _watch(
    lines: Sequence[Line],
    running: Sequence[asyncio.Task[Any]],
    faults: Sequence[asyncio.Task[None]],
    seconds: float | None,
    show: Show,
) -> None:
    """Wait for the PLCs. Raises `CannotMeasure` if nothing happens any more."""
    began = changed = time.monotonic()
    results = 0
    while not all(task.done() for task in running):
        for task in [*running, *faults]:
            if task.done():
                task.result()
        await asyncio.sleep(_LOOK_S)
        now = time.monotonic()
        if seconds is not None and now - began >= seconds:
            for line in lines:
                line.plc.finish()
        before, results = results, sum(len(line.plc.report.verdicts) for line in lines)
        show(results)
        changed = now if results != before else changed
        if now - changed > _STUCK_S:
            raise CannotMeasure(f"no result for {_STUCK_S:g} s; {results} before")


async def drain(lines: Sequence[Line], service: Service) -> None:
    """Wait until the archive has everything; what it does not get in time is counted as missing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while not await _is_drained(lines, service):
                await asyncio.sleep(1.0)
    await asyncio.sleep(1.0)


async def _is_drained(lines: Sequence[Line], service: Service) -> bool:
    rows = await read_rows(service.url)
    for line in lines:
        archived = rows.get(line.station.name, {}).keys()
        if not taken_of(line.plc.report) <= archived:
            return False
        if any((line.station.folder / "station-spool" / "images").iterdir()):
            return False
    return True


async def count_lines(lines: Sequence[Line], service: Service) -> Count:
    """End the stations, and compare what their PLCs saw with the archive."""
    count = Count()
    rows = await read_rows(service.url)
    for station, by_number in rows.items():
        for row in by_number.get(NO_NUMBER, []):
            count.note("wrong_part", (station, row.inspection_id), "has no trigger number")
    for line in lines:
        name = line.station.name
        status = await asyncio.to_thread(line.station.end, signal.SIGTERM)
        if status:
            count.note("left_in_spool", name, f"the station ended with {status}")
        count_station(count, name, line.plc.report, rows, line.image)
        spool = Spool.open(line.station.folder / "station-spool", SpoolLimits(min_free_bytes=0))
        for part in spool.parts:
            count.note("left_in_spool", (name, part.trigger_number))
        spool.close()
        text = line.station.log.read_text("utf-8", "replace")
        if "Traceback" in text:
            count.note("left_in_spool", name, f"a traceback:\n{text[-3000:]}")
    return count
