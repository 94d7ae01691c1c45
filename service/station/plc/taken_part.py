"""A part that the station has taken, and whose result a caller may wait for."""

import asyncio
from dataclasses import dataclass, field

from service.station.machine.images import ResultFields


@dataclass(eq=False, slots=True)
class TakenPart:
    """A part that was taken; `position` counts all results, from the start of the station."""

    position: int
    result: "asyncio.Future[ResultFields]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
