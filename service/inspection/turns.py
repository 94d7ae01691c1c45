"""Requests about the same part, one after the other."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from service.errors import DeadlineExceeded


class Turns:
    """Lets one request at a time use an inspection id. Belongs to one event loop.

    end_turn = await turns.take(inspection_id, deadline)
    """

    def __init__(self) -> None:
        self._taken: dict[UUID, asyncio.Event] = {}

    async def take(self, inspection_id: UUID, deadline: float) -> Callable[[], None]:
        """Wait until no other request uses the id; call the returned function to end the turn.

        `deadline` is by the event loop's clock. Raises `DeadlineExceeded`.
        """
        while (ended := self._taken.get(inspection_id)) is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await ended.wait()
            except TimeoutError as error:
                raise DeadlineExceeded(
                    "another request with this inspection id was not answered in time"
                ) from error
        self._taken[inspection_id] = asyncio.Event()
        return lambda: self._taken.pop(inspection_id).set()
