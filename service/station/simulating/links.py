"""The simulated PLC's connection to a station: as a Modbus client, or as the server.

link = ClientLink("127.0.0.1", 5020)
await link.write(PlcImage(trigger_enable=True))
outputs = await link.read()
outputs["Ready"]
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from service.station.machine.images import PlcImage
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, WordOrder, decode, encode
from service.station.plc.modbus_map import INPUTS, INPUTS_AT, OUTPUTS, OUTPUTS_AT
from service.station.settings import ModbusClientSettings

Outputs: TypeAlias = dict[str, Any]
"""What the station shows, by the names of the layout."""

_READS = frozenset({3, 4})
_WRITES = frozenset({6, 16})


class StationAway(Exception):
    """The station cannot be reached now."""


class PortTaken(StationAway):
    """The simulated PLC cannot listen on its address."""


class Link(Protocol):
    """A connection that is made anew by the next read or write after a cut."""

    async def open(self) -> None:
        """Try the connection, or listen. Raises `StationAway`."""
        ...

    async def read(self) -> Outputs:
        """Return what the station shows. Raises `StationAway`."""
        ...

    async def write(self, image: PlcImage) -> None:
        """Write the PLC's block. Raises `StationAway`."""
        ...

    async def cut(self, *, forgets: bool = False) -> None:
        """End the connection; a PLC that restarts `forgets` its registers, too."""
        ...


class ClientLink:
    """The station is the server, at `plc.modbus`."""

    def __init__(self, host: str, port: int, order: WordOrder = WordOrder.BIG) -> None:
        self._host = host
        self._port = port
        self._order = order
        self._client: AsyncModbusTcpClient | None = None

    async def open(self) -> None:
        """Connect. Raises `StationAway`."""
        await self._connected()

    async def read(self) -> Outputs:
        """Return what the station shows. Raises `StationAway`."""
        client = await self._connected()
        try:
            answer = await client.read_holding_registers(OUTPUTS_AT, count=OUTPUTS)
        except (ModbusException, OSError) as error:
            await self.cut()
            raise StationAway(str(error)) from error
        if answer.isError():
            raise StationAway(f"the station refused to be read: {answer}")
        return _outputs(answer.registers, self._order)

    async def write(self, image: PlcImage) -> None:
        """Write the PLC's block. Raises `StationAway`."""
        client = await self._connected()
        try:
            answer = await client.write_registers(INPUTS_AT, encode(image, PLC_WRITES, self._order))
        except (ModbusException, OSError) as error:
            await self.cut()
            raise StationAway(str(error)) from error
        if answer.isError():
            raise StationAway(f"the station refused to be written: {answer}")

    async def cut(self, *, forgets: bool = False) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is not None and not self._client.connected:
            await self.cut()
        if self._client is None:
            client = AsyncModbusTcpClient(
                self._host, port=self._port, retries=0, timeout=3, reconnect_delay=0.0
            )
            if not await client.connect():
                client.close()
                raise StationAway(f"no station on {self._host}:{self._port}")
            self._client = client
        return self._client


class ServerLink:
    """The PLC is the server; the station connects, as `plc.modbus_client` says."""

    def __init__(self, settings: ModbusClientSettings, port: int | None = None) -> None:
        self._settings = settings
        self.port = settings.port if port is None else port
        self._order = WordOrder(settings.word_order)
        ends = settings.inputs_at + INPUTS, settings.outputs_at + OUTPUTS
        self.registers = [0] * max(ends)
        self._server: ModbusTcpServer | None = None

    @property
    def connections(self) -> int:
        """The number of connected stations."""
        return len(self._server.active_connections) if self._server else 0

    async def open(self) -> None:
        """Listen. Raises `PortTaken`."""
        if self._server is not None:
            return
        count = len(self.registers)
        block = SimData(0, count=count, values=0, datatype=DataType.REGISTERS)
        address = (self._settings.host, self.port)
        server = ModbusTcpServer(SimDevice(0, [block], action=self._access), address=address)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise PortTaken(
                f"the simulated PLC cannot listen on {self._settings.host}:{self.port} "
                "(plc.modbus_client): the port is taken, needs root (below 1024), or the address "
                "is not of this machine"
            ) from error
        listener: Any = server.transport
        self.port = listener.sockets[0].getsockname()[1]
        self._server = server

    async def read(self) -> Outputs:
        """Return what the station has written last. Raises `PortTaken`."""
        await self.open()
        start = self._settings.outputs_at
        return _outputs(self.registers[start : start + OUTPUTS], self._order)

    async def write(self, image: PlcImage) -> None:
        """Let the station read other inputs. Raises `PortTaken`."""
        await self.open()
        start = self._settings.inputs_at
        self.registers[start : start + INPUTS] = encode(image, PLC_WRITES, self._order)

    async def cut(self, *, forgets: bool = False) -> None:
        """End all connections, and listen no more."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None
            await asyncio.sleep(0)
        if forgets:
            self.registers[:] = [0] * len(self.registers)

    async def _access(
        self,
        function: int,
        _start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Answer a read, or take a write of the station's block; awaits nothing."""
        if function not in _READS | _WRITES:
            return ExcCodes.ILLEGAL_FUNCTION
        if values is None:
            registers[:] = self.registers
            return None
        start = self._settings.outputs_at
        if not start <= address <= address + count <= start + OUTPUTS:
            return ExcCodes.ILLEGAL_ADDRESS
        self.registers[address : address + count] = [int(value) for value in values]
        return None


def _outputs(registers: Sequence[int], order: WordOrder) -> Outputs:
    return {field.name: decode(registers, field, order) for field in STATION_WRITES}
