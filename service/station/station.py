"""The station: joins the machine, the door to the PLC, the cameras, the spool and the service.

    station = Station(settings)
    await station.open()
    await station.close()

Everything runs in one event loop. Each change that the PLC writes and each event is one step of
the machine, at once and in order; no step waits for anything.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from service.client import AsyncClient
from service.station.carrying import Carrier, SpoolThread
from service.station.inspecting import Inspector
from service.station.machine import Machine, MachineSettings
from service.station.machine.events import Event
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.outcomes import fail_safe_of
from service.station.plc.door import Heard, PlcDoor
from service.station.posting import Poster
from service.station.reports import PartReport, Vitals, Watcher
from service.station.schedule import Warmer
from service.station.settings import StationSettings
from service.station.spool import Spool, SpoolLimits
from service.station.spool_watch import SpoolWatch

logger = logging.getLogger("service.stations")

_EXTRA_S = 2.0


class Station:
    """One station; `open_door` makes the door to the PLC from what listens to it."""

    def __init__(
        self,
        settings: StationSettings,
        client: AsyncClient,
        open_door: Callable[[Heard], PlcDoor],
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.door = open_door(self._plc_wrote)
        self._settings = settings
        self._watchers = watchers
        self._client = client
        self._inspector = Inspector(settings, client)
        self._thread = SpoolThread()
        self._inputs = PlcImage()
        self._image = StationImage(online=False)
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._is_open = False
        self._idle = asyncio.Event()

    async def open(self) -> None:
        """Read the spool, then let the PLC connect. Raises `SpoolUnusable`, or `DoorClosed`."""
        limits = SpoolLimits(**self._settings.spool.model_dump(exclude={"folder"}))
        self._spool = await asyncio.to_thread(Spool.open, self._settings.spool.folder, limits)
        try:
            was_interrupted = await self._tell_interrupted()
            self._poster = Poster(self._settings, self._client, self._spool, self._thread.write)
            self._carrier = Carrier(
                self._settings, self._spool, self._thread, self._inspector, self._poster,
                self.hear, watcher=self,
            )  # fmt: skip
            self._machine = Machine(
                machine_settings(self._settings),
                first_job=self._spool.next_job,
                restored=[
                    (part.job, part.result()) for part in self._spool.parts if not part.is_settled
                ],
                was_interrupted=was_interrupted,
            )
            self._warmer = Warmer(self._settings, self._inspector)
            self._carrier.job_in_work = lambda: self._machine.job
            await self._inspector.open()
            await self.door.open()
        except BaseException:
            await self._inspector.close()
            await self._thread.close()
            self._spool.close()
            raise
        for part in self._spool.parts:
            self._poster.add(part.job)
        watch = SpoolWatch(self._spool, self._thread.write, self.hear)
        self._background = [
            asyncio.create_task(watch.run()),
            asyncio.create_task(self._poster.run()),
            asyncio.create_task(self._warmer.run()),
        ]
        self._is_open = True
        self._step(None)

    @property
    def image(self) -> StationImage:
        """What the PLC reads now."""
        return self._image

    @property
    def waiting(self) -> int:
        """The number of parts in the spool."""
        return self._spool.depth

    def vitals(self) -> Vitals:
        """Return how an open station is now; any thread may call it."""
        counts = self._machine.counts
        return Vitals(
            plc_address=self.door.address,
            plc_clients=self.door.clients,
            spool_parts=self._spool.depth,
            spool_bytes=self._spool.image_bytes,
            triggers=counts.triggers,
            missed_triggers=counts.missed_triggers,
            overruns=counts.overruns,
            errors=self._machine.errors,
            cameras_up={name: camera.is_up for name, camera in self._inspector.cameras.items()},
            schedule=self._warmer.state,
        )

    def hear(self, event: Event) -> None:
        """Give the machine an event."""
        self._step(event)

    def part_told(self, report: PartReport) -> None:
        """Pass a report on to the door and to all watchers."""
        self.door.told(report)
        for watcher in self._watchers:
            watcher.part_told(report)

    def alarm(self, code: ErrorCode) -> None:
        """Pass an error on to all watchers."""
        for watcher in self._watchers:
            watcher.alarm(code)

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Show a new image to the PLC and to all watchers."""
        self._image = image
        self.door.show(image)
        for watcher in self._watchers:
            watcher.image_changed(image, inputs)

    async def close(self) -> None:
        """Finish the part in work, then end all connections."""
        self._machine.close()
        self._step(None)
        longest_s = self._settings.times.takt_ms / 1_000 + _EXTRA_S
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), longest_s)
        await self._carrier.finish()
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self.image_changed(replace(self._image, online=False, ready=False), self._inputs)
        await self.door.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._thread.close()
        self._spool.close()
        await self._inspector.close()

    def _plc_wrote(self, inputs: PlcImage) -> None:
        self._inputs = inputs
        self._step(None)

    def _step(self, event: Event | None) -> None:
        """Make a step, and plan the next: soon, so that the PLC can read the image between."""
        if not self._is_open:
            return
        loop = asyncio.get_running_loop()
        step = self._machine.step(self._inputs, loop.time() * 1_000, event)
        self.image_changed(step.image, self._inputs)
        for action in step.actions:
            self._carrier.carry_out(action)
        if self._timer is not None:
            self._timer.cancel()
        if step.follows_at_once:
            self._timer = loop.call_soon(self._step, None)
        else:
            self._timer = loop.call_at(step.wake_at_ms / 1_000, self._step, None)
        if self._machine.job is None and not step.follows_at_once:
            self._idle.set()
        else:
            self._idle.clear()

    async def _tell_interrupted(self) -> bool:
        """Make parts UNDECIDED that an earlier run did not end; return whether there are some."""
        fail_safe = fail_safe_of(self._settings.fail_safe)
        restarted = Outcome(Verdict.UNDECIDED, Reason.STATION_RESTARTED, fail_safe)
        interrupted = [part for part in self._spool.parts if part.told is None]
        for part in interrupted:
            logger.error("part %s was in work when the station ended: UNDECIDED", part.part_id)
            await self._thread.write(self._spool.tell, part.job, restarted)
        return bool(interrupted)


def machine_settings(settings: StationSettings) -> MachineSettings:
    """Return what the machine needs of the settings."""
    times = settings.times
    return MachineSettings(
        recipes=frozenset(settings.recipes),
        takt_ms=times.takt_ms,
        reserve_ms=times.reserve_ms,
        ack_timeout_ms=times.ack_timeout_ms,
        plc_timeout_ms=times.plc_timeout_ms,
        heartbeat_ms=times.heartbeat_ms,
        fail_safe=fail_safe_of(settings.fail_safe),
        autostart_recipe=settings.autostart_recipe,
    )
