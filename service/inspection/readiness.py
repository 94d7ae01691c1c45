"""Whether the service can inspect, and if not, why."""

from collections.abc import Callable
from dataclasses import dataclass

from service.shutdown import Shutdown
from service.versions.registry import Registry
from service.workers.protocol import Workers


@dataclass(frozen=True, slots=True)
class ServiceReadiness:
    """Whether the service can inspect; `reasons` say why not."""

    ready: bool
    reasons: tuple[str, ...]


class ReadinessCheck:
    """Checks the workers, the registry and the shutdown.

    readiness = check()
    readiness.ready, readiness.reasons

    `refusing` says why every part is refused now, None while none is.
    """

    def __init__(
        self,
        workers: Workers,
        registry: Registry,
        shutdown: Shutdown,
        refusing: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._workers = workers
        self._refusing = refusing
        self._registry = registry
        self._shutdown = shutdown

    def __call__(self) -> ServiceReadiness:
        """Return ready if the workers are, and at least one category can be inspected."""
        reasons = [
            f"worker {worker.name} is {worker.state}: {worker.reason}"
            for worker in self._workers.unready()
        ]
        if not self._registry.routes:
            reasons.append("no checkpoint in the store can serve")
        if self._shutdown.begun:
            reasons.append("the service is shutting down")
        if refusal := self._refusing():
            reasons.append(refusal)
        return ServiceReadiness(not reasons, tuple(reasons))

    async def wait(self) -> None:
        """Wait until the service is ready."""
        while not self().ready:
            await self._workers.wait_change()
