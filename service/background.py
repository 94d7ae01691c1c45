"""Tasks that run beside the requests for as long as the service does."""

import asyncio
from collections.abc import Callable

from service.console.board.traffic import Traffic
from service.inspection.readiness import ReadinessCheck
from service.workers.child.threads import return_free_memory

_RETURN_MEMORY_EVERY_S = 2.0


async def return_memory() -> None:
    """Give memory that large requests have freed back to the machine, every few seconds."""
    while True:
        await asyncio.sleep(_RETURN_MEMORY_EVERY_S)
        await asyncio.to_thread(return_free_memory)


async def watch(traffic: Traffic) -> None:
    """Note the metrics every few seconds, so that the console knows the last minutes."""
    while True:
        traffic.note()
        await asyncio.sleep(traffic.EVERY_S)


async def announce(readiness: ReadinessCheck, on_ready: Callable[[], None] | None) -> None:
    """Call `on_ready` once, when the service is first ready."""
    await readiness.wait()
    if on_ready:
        on_ready()
