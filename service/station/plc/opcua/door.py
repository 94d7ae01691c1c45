"""The OPC UA door: joins the server, the VisionSystem and the station's handshake."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from service.client import AsyncClient
from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.plc.door import Heard
from service.station.plc.listening import cannot_listen, try_to_listen
from service.station.plc.opcua.configurations import Configurations
from service.station.plc.opcua.content import PartResult, result_of_registers, result_of_report
from service.station.plc.opcua.events import Events
from service.station.plc.opcua.jobs import Jobs
from service.station.plc.opcua.methods import Methods
from service.station.plc.opcua.recipes import Recipe, Recipes, recipes_of
from service.station.plc.opcua.registers import Registers
from service.station.plc.opcua.results import Results
from service.station.plc.opcua.server import (
    StationServer,
    make_server,
    read_guard,
)
from service.station.plc.opcua.states import States
from service.station.plc.opcua.vision import build_vision
from service.station.plc.requester import Requester
from service.station.reports import PartReport
from service.station.settings import StationSettings
from service.station.settings.opcua import OpcUaSettings

logger = logging.getLogger("service.opcuadoor")

_Change: TypeAlias = Callable[[], Awaitable[None]]
_PROTOCOL = "OPC UA"
_REPORT_WAIT_S = 2.0
_REPORT_POLL_S = 0.005
_MOST_REPORTED = 1_000


class OpcUaDoor:
    """The server; see `PlcDoor`. It plays the PLC's side of the handshake for its clients."""

    def __init__(
        self,
        settings: OpcUaSettings,
        heard: Heard,
        station: StationSettings,
        client: AsyncClient,
    ) -> None:
        self._settings = settings
        self._heard = heard
        self._station = station
        self._client = client
        self._recipes = recipes_of(station.recipes)
        self._requester = Requester(self._write, keep=self._keep)
        self._inputs = PlcImage()
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reported: dict[tuple[int, str], bool] = {}
        self._unreported: dict[tuple[int, str], bool] = {}
        self._server: StationServer | None = None

    @property
    def address(self) -> str:
        """The server's address, with the port that it got."""
        return f"opc.tcp://{self._settings.host}:{self.port}/station"

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._server.port if self._server else self._settings.port

    @property
    def clients(self) -> int:
        """The number of connected clients."""
        return self._server.clients if self._server else 0

    async def check(self) -> str:
        """Read certificate, key and users, and listen for a moment. Raises `DoorClosed`."""
        guard, identity = read_guard(self._settings)
        try_to_listen(self._settings.host, self._settings.port, _PROTOCOL)
        texts = ["can listen"]
        if identity is not None and guard.trust is not None:
            end = identity.certificate.not_valid_after_utc
            trusted = len(guard.trust.trusted())
            texts.append(f"certificate of {identity.application_uri} until {end:%Y-%m-%d}")
            texts.append(f"{trusted} client certificates trusted in {guard.trust.folder}")
        if self._settings.no_security:
            texts.append("connections without security on this machine")
        return ", ".join(texts)

    async def open(self) -> None:
        """Build the address space and listen. Raises `DoorClosed`."""
        guard, identity = read_guard(self._settings)
        server = await make_server(guard, identity, f"mambaad station {self._station.name}")
        vision = await build_vision(server)
        self._events = Events(vision)
        await self._events.prepare()
        self._methods = Methods(vision, self._shown)
        self._management = Recipes(vision, self._events, self._requester, self._recipes)
        self._jobs = Jobs(vision, self._events, self._requester, self._management)
        self._results = Results(
            vision, self._events, self._station.name, self._settings.max_results
        )
        self._configurations = Configurations(vision, self._client)
        self._registers = Registers(vision)
        self._states = States(vision, self._events)
        for part in (self._jobs, self._management, self._results, self._configurations):
            await part.link(self._methods)
        await self._registers.build(self._methods, self._jobs.trigger)
        try:
            await server.start()
        except OSError as error:
            address = self._settings.host, self._settings.port
            raise cannot_listen(*address, _PROTOCOL, error) from error
        self._server = server
        self._start(self._show_changes())
        asyncio.get_running_loop().call_soon(self._requester.open)

    def show(self, image: StationImage) -> None:
        """Show an image to the requester at once, and to clients in turn."""
        if self._server is None:
            return
        inputs = self._inputs
        self._changes.put_nowait(lambda: self._show(image, inputs))
        self._requester.see(image)

    def told(self, report: PartReport) -> None:
        """Publish a part's result."""
        part = report.part
        key = part.trigger_number, part.part_id
        if self._unreported.pop(key, False):
            return  # published from the registers, because this report came too late
        self._reported[key] = True
        if len(self._reported) > _MOST_REPORTED:
            del self._reported[next(iter(self._reported))]
        job = self._jobs.take(*key)
        recipe = self._recipe(part.recipe)
        result = result_of_report(report, job, recipe, self._configurations.sha256s)
        self._changes.put_nowait(lambda: self._publish(result))

    async def close(self) -> None:
        """Show everything, then end all connections."""
        if self._server is None:
            return
        await self._requester.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changes.join(), _REPORT_WAIT_S)
        await self._methods.close()
        await self._management.close()
        await self._configurations.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        server, self._server = self._server, None
        await server.stop()

    def _write(self, inputs: PlcImage) -> None:
        self._inputs = inputs
        self._heard(inputs)

    async def _keep(self, fields: ResultFields) -> None:
        """Publish a result of an earlier run; return when the result of a part is published.

        A station that is killed before has the result again after its start.
        """
        key = fields.trigger_number, fields.part_id
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPORT_WAIT_S):
                while self._jobs.has(*key):
                    await asyncio.sleep(_REPORT_POLL_S)
        if not self._reported.pop(key, False):
            if self._jobs.has(*key):
                self._unreported[key] = True
            self._publish_registers(fields)
        await self._shown()

    def _publish_registers(self, fields: ResultFields) -> None:
        key = fields.trigger_number, fields.part_id
        is_restored = not self._jobs.has(*key)
        job, recipe = self._jobs.take(*key), self._recipe(fields.recipe)
        result = result_of_registers(fields, job, recipe, is_restored=is_restored)
        self._changes.put_nowait(lambda: self._publish(result))

    def _recipe(self, number: int) -> Recipe:
        return self._recipes.get(number) or Recipe(number)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shown(self) -> None:
        """Wait until everything up to now is shown."""
        done = asyncio.Event()

        async def note() -> None:
            done.set()

        self._changes.put_nowait(note)
        await done.wait()

    async def _show_changes(self) -> None:
        """Write one change after the other, in their order."""
        while True:
            change = await self._changes.get()
            try:
                await change()
            except Exception:
                logger.exception("a change could not be shown to OPC UA clients")
            finally:
                self._changes.task_done()

    async def _show(self, image: StationImage, inputs: PlcImage) -> None:
        before = self._management.prepared
        await self._registers.show(image, inputs)
        await self._states.show(image)
        await self._management.show(image)
        await self._jobs.show(image)
        if self._management.prepared not in (0, before):
            recipe = self._station.recipes[self._management.prepared]
            self._configurations.prepare(recipe.categories.values())

    async def _publish(self, result: PartResult) -> None:
        await self._results.publish(result)
        for inspected in result.inspections:
            if inspected.model is not None and inspected.model.sha256 is None:
                await self._configurations.saw(result.models, inspected.inspection_id)
                return
        await self._configurations.saw(result.models, None)
