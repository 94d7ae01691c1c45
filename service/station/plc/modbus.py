"""Modbus TCP: the station is the server, the PLC the client.

Holding and input registers are the same; see `modbus_map`. Uses pymodbus, whose exact version
pyproject.toml names, because a connection's check of its client needs parts that it may move.
"""

import logging
import socket
import time
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.logging import Log
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from service.station.machine.images import StationImage
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.layout import STATION_WRITES, WordOrder, decode_plc, encode
from service.station.plc.listening import try_to_listen
from service.station.plc.modbus_map import INPUTS, INPUTS_AT, OUTPUTS_AT, REGISTERS
from service.station.reports import PartReport
from service.station.settings import ModbusSettings
from service.station.settings.base import allows

logger = logging.getLogger("service.modbus")

_FUNCTIONS = frozenset({3, 4, 6, 16, 22, 23})
"""Read and write registers; the station has no coils."""
_LENGTHS = range(2, 255)
"""Bytes of a frame after its length: the unit's number, the function, and up to 252 of data."""
_SHOWN_BYTES = 16
_SAY_EVERY_S = 60.0
_IDLE_BEFORE_PROBE_S = 5
_PROBES = 3


class ModbusDoor:
    """The server; see `PlcDoor`."""

    def __init__(self, settings: ModbusSettings, heard: Heard) -> None:
        self._settings = settings
        self._heard = heard
        self._order = WordOrder(settings.word_order)
        self._registers = [0] * REGISTERS
        self._server: _Server | None = None
        self.show(StationImage(online=False))

    @property
    def address(self) -> str:
        """The server's address, with the port that it got."""
        return f"modbus://{self._settings.host}:{self.port}"

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        if self._server is None:
            return self._settings.port
        return self._server.port

    @property
    def clients(self) -> int:
        """The number of connected clients."""
        return len(self._server.active_connections) if self._server else 0

    async def check(self) -> str:
        """Listen for a moment. Raises `DoorClosed`."""
        await self.open()
        await self.close()
        return f"can listen; {', '.join(map(str, self._settings.allow))} may connect"

    async def open(self) -> None:
        """Listen. Raises `DoorClosed`."""
        device = SimDevice(
            0,
            [SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)],
            action=self._access,
        )
        try_to_listen(self._settings.host, self._settings.port, "Modbus")
        Log.setLevel(logging.CRITICAL)  # type: ignore[no-untyped-call] # it names no client
        server = _Server(device, self._settings)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise DoorClosed(f"cannot listen for Modbus: {error}") from error
        self._server = server

    def show(self, image: StationImage) -> None:
        """Replace all registers that the station writes."""
        self._registers[OUTPUTS_AT:] = encode(image, STATION_WRITES, self._order)

    def told(self, report: PartReport) -> None:
        """Do nothing: the registers have the result."""

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    async def _access(
        self,
        function: int,
        _start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Answer a read from the present registers, or take a write; awaits nothing."""
        if function not in _FUNCTIONS:
            return ExcCodes.ILLEGAL_FUNCTION
        if values is None:
            registers[:] = self._registers
            return None
        if not INPUTS_AT <= address <= address + count <= INPUTS_AT + INPUTS:
            return ExcCodes.ILLEGAL_ADDRESS
        self._registers[address : address + count] = [int(value) for value in values]
        written = self._registers[INPUTS_AT : INPUTS_AT + INPUTS]
        try:
            self._heard(decode_plc(written, self._order))
        except Exception:
            logger.exception("a Modbus request failed")
            return ExcCodes.DEVICE_FAILURE
        return None


class _Server(ModbusTcpServer):
    """Refuses clients that are not allowed; a client too many replaces the one silent longest."""

    def __init__(self, device: SimDevice, settings: ModbusSettings) -> None:
        super().__init__(device, address=(settings.host, settings.port))
        self.settings = settings
        self._requests = 0
        self._says_again_s: dict[str, float] = {}

    @property
    def port(self) -> int:
        """The port that the server got."""
        listener: Any = self.transport
        port: int = listener.sockets[0].getsockname()[1]
        return port

    def callback_new_connection(self) -> "_Connection":
        """Return the handler of a connection."""
        return _Connection(self)

    def next_request(self) -> int:
        """Count a request, of any client."""
        self._requests += 1
        return self._requests

    def say_rubbish(self, host: str, data: bytes) -> None:
        """Log that a client sends no Modbus: a line a minute for each client."""
        now_s = time.monotonic()
        if now_s < self._says_again_s.get(host, 0.0):
            return
        self._says_again_s = {h: at_s for h, at_s in self._says_again_s.items() if at_s > now_s}
        self._says_again_s[host] = now_s + _SAY_EVERY_S
        logger.warning(
            "%s sends no Modbus TCP (%s%s): its connection is closed; this is said once a minute",
            host, data[:_SHOWN_BYTES].hex(" "), " ..." if len(data) > _SHOWN_BYTES else "",
        )  # fmt: skip

    def make_room(self) -> None:
        """Close the connections that have been silent longest until there are not too many."""
        connections = [c for c in self.active_connections.values() if isinstance(c, _Connection)]
        connections.sort(key=lambda connection: connection.latest_request)
        for connection in connections[: max(0, len(connections) - self.settings.max_clients)]:
            logger.warning("closed a Modbus connection: more than %d", self.settings.max_clients)
            connection.close()


class _Connection(ServerRequestHandler):
    def __init__(self, server: _Server) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            server, server.trace_packet, server.trace_pdu, server.trace_connect
        )
        self._door = server
        self.latest_request = server.next_request()
        self._is_answering = False

    def callback_connected(self) -> None:
        """Refuse a client that is not allowed."""
        super().callback_connected()
        host = self.transport.get_extra_info("peername")[0]
        if not allows(self._door.settings.allow, host):
            logger.warning("refused a Modbus client from %s: it is not in plc.modbus.allow", host)
            self.close()
            return
        _watch(self.transport.get_extra_info("socket"))
        self._door.make_room()

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        """Note that the client is not silent; end the connection of one that speaks no Modbus."""
        if self._is_answering:
            return 0  # pymodbus would forget the request before: the rest follows its answer
        self.latest_request = self._door.next_request()
        if not _may_begin_a_frame(data):
            self._door.say_rubbish(self.transport.get_extra_info("peername")[0], data)
            self.close()
            return len(data)
        used: int = super().callback_data(data, addr)
        self._is_answering = bool(self.last_pdu)
        return used

    def send(self, data: bytes, addr: tuple[Any, ...] | None = None) -> None:
        """Send an answer, and keep the requests that came behind its own: pymodbus drops them."""
        rest = self.recv_buffer
        super().send(data, addr)
        self.recv_buffer = rest

    async def handle_request(self) -> None:
        """Answer a request; then take the next one of a client that sends several at once."""
        try:
            await super().handle_request()  # type: ignore[no-untyped-call]
        finally:
            self._is_answering = False
        if self.recv_buffer:
            used = self.callback_data(self.recv_buffer, self.last_addr)
            self.recv_buffer = self.recv_buffer[used:]


def _may_begin_a_frame(data: bytes) -> bool:
    """Whether the protocol's number and the length are those of Modbus TCP, as far as they came."""
    protocol, length = data[2:4], data[4:6]
    is_modbus = protocol == bytes(len(protocol))
    return is_modbus and (len(length) < 2 or int.from_bytes(length) in _LENGTHS)


def _watch(connection: socket.socket) -> None:
    """Have the system end a connection whose client has vanished; send answers at once."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _IDLE_BEFORE_PROBE_S),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", _PROBES),
    ):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
