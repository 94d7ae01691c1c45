"""Whether the service can inspect, and what stands in the way."""

from dataclasses import dataclass

from service.shutdown import Shutdown
from service.versions.registry import Registry
from service.workers.protocol import Workers, WorkerState


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service can inspect, and what stands in the way."""

    ready: bool
    reasons: tuple[str, ...]


class ReadinessCheck:
    """Says how ready the service is at the moment of the call."""

    def __init__(self, workers: Workers, registry: Registry, shutdown: Shutdown) -> None:
        self._workers = workers
        self._registry = registry
        self._shutdown = shutdown

    def __call__(self) -> Readiness:
        """Ready means: every worker is, and at least one category can be inspected."""
        reasons = [
            f"worker {worker.name} is {worker.state}: {worker.reason}"
            for worker in self._workers.status()
            if worker.state is not WorkerState.READY
        ]
        if not self._registry.routes:
            reasons.append("no checkpoint can be served")
        if self._shutdown.begun:
            reasons.append("the service is shutting down")
        return Readiness(not reasons, tuple(reasons))

    async def wait(self) -> None:
        """Wait until the service is ready."""
        while not self().ready:
            await self._workers.wait_change()
