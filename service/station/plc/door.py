"""What the station needs of a door to the PLC."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from service.station.machine.images import PlcImage, StationImage
from service.station.reports import PartReport

Heard: TypeAlias = Callable[[PlcImage], None]
"""Called for each change that the PLC writes, in order; must not block."""


class DoorClosed(Exception):
    """The door cannot be opened: its address, its port, or its settings."""


class PlcDoor(Protocol):
    """Shows the station's image to the PLC, and reports what the PLC writes."""

    @property
    def address(self) -> str:
        """Where the PLC finds the door, such as `modbus://127.0.0.1:5020`."""
        ...

    @property
    def clients(self) -> int:
        """The number of connected clients."""
        ...

    async def check(self) -> str:
        """Try the connection, change nothing, and say what was tried. Raises `DoorClosed`."""
        ...

    async def open(self) -> None:
        """Let the PLC connect. Raises `DoorClosed`."""
        ...

    def show(self, image: StationImage) -> None:
        """Replace in one step everything that the PLC reads."""
        ...

    def told(self, report: PartReport) -> None:
        """Report a part in full, soon after its result is shown; registers do without it."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...
