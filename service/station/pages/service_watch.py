"""Asks the inspection service every few seconds whether it is ready."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from service.client import AsyncClient, InspectionError

_EVERY_S = 5.0
_EVERY_S_WHILE_AWAY = 1.0


@dataclass(frozen=True, slots=True)
class ServiceState:
    """`is_up` is None before the first answer; `text` says why the service is not ready."""

    url: str = ""
    is_up: bool | None = None
    text: str = ""


class ServiceWatch:
    """Keeps the service's latest answer; the client belongs to the event loop of `run`."""

    def __init__(self, open_client: Callable[[], AsyncClient]) -> None:
        self._open_client = open_client
        self.state = ServiceState()

    async def run(self) -> None:
        """Ask until it is cancelled."""
        async with self._open_client() as client:
            while True:
                self.state = await _ask(client)
                await asyncio.sleep(_EVERY_S if self.state.is_up else _EVERY_S_WHILE_AWAY)


async def _ask(client: AsyncClient) -> ServiceState:
    try:
        readiness = await client.ready()
    except InspectionError as error:
        return ServiceState(client.url, is_up=False, text=str(error))
    return ServiceState(client.url, readiness.ready, "; ".join(readiness.reasons))
