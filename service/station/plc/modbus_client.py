"""Modbus TCP: the PLC is the server, the station the client.

The station reads the PLC's block again and again, and writes its own block when it has changed. A
PLC that is away counts as one that has switched TriggerEnable off; see `_away`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.logging import Log
from pymodbus.pdu import ModbusPDU

from service.station.machine.images import PlcImage, StationImage
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.layout import STATION_WRITES, WordOrder, decode_plc, encode
from service.station.plc.modbus_map import INPUTS, OUTPUTS
from service.station.plc.unsent import UnsentImages
from service.station.reports import PartReport
from service.station.settings import ModbusClientSettings

logger = logging.getLogger("service.modbusclient")


class PlcAway(Exception):
    """The PLC does not answer, or refuses; the message says which."""


class ModbusClientDoor:
    """The client; see `PlcDoor`. An open door connects again and again, with pauses."""

    def __init__(self, settings: ModbusClientSettings, heard: Heard) -> None:
        self._settings = settings
        self._heard = heard
        self._order = WordOrder(settings.word_order)
        self._inputs = PlcImage()
        self._unsent = UnsentImages(settings.valid_off_ms / 1_000)
        self._has_changed = asyncio.Event()
        self._is_connected = False
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The PLC's address."""
        return f"modbus://{self._settings.host}:{self._settings.port}"

    @property
    def clients(self) -> int:
        """1 while the PLC answers, else 0."""
        return int(self._is_connected)

    async def check(self) -> str:
        """Read both blocks, and write nothing. Raises `DoorClosed`."""
        settings = self._settings
        try:
            async with _Connection(settings) as connection:
                words = await connection.read(settings.inputs_at, INPUTS)
                await connection.read(settings.outputs_at, OUTPUTS)
        except PlcAway as error:
            advice = (
                "if the PLC takes one client alone and the station runs, stop the station first"
            )
            raise DoorClosed(f"{error}; {advice}") from error
        image = decode_plc(words, self._order)
        return (
            f"answers; TriggerEnable {image.trigger_enable:d}, Trigger {image.trigger:d}, "
            f"PlcHeartbeat {image.heartbeat}, TriggerNumber {image.trigger_number}"
        )

    async def open(self) -> None:
        """Begin to connect; a PLC that is away may come later."""
        self._task = asyncio.create_task(self._stay_connected())

    def show(self, image: StationImage) -> None:
        """Have an image written, after those shown before it."""
        self._unsent.show(image)
        self._has_changed.set()

    def told(self, report: PartReport) -> None:
        """Do nothing: the registers have the result."""

    async def close(self) -> None:
        """Write the images that are left, if the PLC answers; then end the connection."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._is_connected:
            await asyncio.wait({task}, timeout=self._settings.timeout_ms / 1_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stay_connected(self) -> None:
        reason = ""
        while True:
            try:
                async with _Connection(self._settings) as connection:
                    await self._write(connection)
                    if reason:
                        logger.warning("the PLC on %s answers", self.address)
                    reason = ""
                    self._is_connected = True
                    await self._exchange(connection)
                    return
            except PlcAway as error:
                if str(error) != reason:
                    reason = str(error)
                    logger.warning("the PLC on %s is away: %s", self.address, error)
            except Exception:
                logger.exception("the exchange with the PLC on %s failed", self.address)
            finally:
                self._away()
            await asyncio.sleep(self._settings.reconnect_ms / 1_000)

    def _away(self) -> None:
        """Have the machine see TriggerEnable off, and all else as the PLC had it last.

        So the handshake bits clear, Ready goes off, and results wait. A command, an acknowledgement
        or BufferEnable is no change, and is not taken a second time when the PLC is back.
        """
        self._is_connected = False
        self._unsent.lose()
        self._hear(replace(self._inputs, trigger_enable=False))

    async def _exchange(self, connection: "_Connection") -> None:
        """Read and write until the door closes and all is written. Raises `PlcAway`."""
        while self._task is not None or self._unsent:
            self._has_changed.clear()
            await self._write(connection)
            self._hear(await self._read(connection))
            if not self._has_changed.is_set():
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.poll_ms / 1_000):
                await self._has_changed.wait()
        except TimeoutError:
            pass

    async def _read(self, connection: "_Connection") -> PlcImage:
        """Read the PLC's block; twice after a rising Trigger or a new command.

        A PLC may change its registers while it answers. It writes the number before the Trigger, so
        that a read which begins after a Trigger was seen has the number that belongs to it.
        """
        image = await self._read_once(connection)
        begins_part = image.trigger and not self._inputs.trigger
        if begins_part or image.command not in (0, self._inputs.command):
            image = await self._read_once(connection)
        return image

    async def _read_once(self, connection: "_Connection") -> PlcImage:
        words = await connection.read(self._settings.inputs_at, INPUTS)
        return decode_plc(words, self._order)

    async def _write(self, connection: "_Connection") -> None:
        """Write each image in a request of its own."""
        loop = asyncio.get_running_loop()
        while (image := self._unsent.take(loop.time())) is not None:
            words = encode(image, STATION_WRITES, self._order)
            await connection.write(self._settings.outputs_at, words)

    def _hear(self, image: PlcImage) -> None:
        if image != self._inputs:
            self._inputs = image
            self._heard(image)


class _Connection:
    """A connection to the PLC; each failure is a `PlcAway`."""

    def __init__(self, settings: ModbusClientSettings) -> None:
        self._settings = settings
        self._cut = asyncio.Event()
        self._client = AsyncModbusTcpClient(
            settings.host,
            port=settings.port,
            timeout=settings.timeout_ms / 1_000,
            retries=0,
            reconnect_delay=0.0,
            trace_connect=lambda is_connected: None if is_connected else self._cut.set(),
        )

    async def __aenter__(self) -> "_Connection":
        # pymodbus would report each attempt; `PlcAway` says it once.
        Log.setLevel(logging.CRITICAL)  # type: ignore[no-untyped-call]
        is_connected = False
        try:
            is_connected = await self._client.connect()
        finally:
            if not is_connected:
                self._client.close()
        if not is_connected:
            raise PlcAway("no connection")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    async def read(self, address: int, count: int) -> list[int]:
        """Return holding registers."""
        answer = await self._answer(
            lambda: self._client.read_holding_registers(
                address, count=count, device_id=self._settings.unit
            ),
            f"reading {count} registers from {address}",
        )
        if len(answer.registers) != count:
            raise PlcAway(f"the PLC answered with {len(answer.registers)} registers, not {count}")
        return list(answer.registers)

    async def write(self, address: int, words: list[int]) -> None:
        """Write holding registers in one request."""
        await self._answer(
            lambda: self._client.write_registers(address, words, device_id=self._settings.unit),
            f"writing {len(words)} registers from {address}",
        )

    async def _answer(self, request: Callable[[], Awaitable[ModbusPDU]], action: str) -> ModbusPDU:
        """Send a request, and return its answer; a cut ends the wait at once."""
        answering = asyncio.create_task(self._send(request))
        cut = asyncio.create_task(self._cut.wait())
        try:
            await asyncio.wait({answering, cut}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise PlcAway("the connection was cut")
            answer = answering.result()
        except (ModbusException, OSError) as error:
            raise PlcAway(f"no answer within {self._settings.timeout_ms:g} ms") from error
        finally:
            for task in (answering, cut):
                task.cancel()
            await asyncio.gather(answering, cut, return_exceptions=True)
        if answer.isError():
            raise PlcAway(
                f"the PLC refuses {action} (unit {self._settings.unit}): exception code "
                f"{answer.exception_code}"
            )
        return answer

    async def _send(self, request: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        if not self._client.connected:  # pymodbus would open another connection by itself
            raise PlcAway("the connection was cut")
        return await request()
