"""The manager of a cluster's workers: one actor for all services with the same plan.

It starts workers, begins each new actor with the checkpoints that the services want, and ends all
when no service is left. It keeps nothing that it could not ask for again: if it dies, Ray starts
another, which finds the workers by their names. Images never pass through it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from model.checkpoints.key import CheckpointKey
from service.cluster.messages import ClusterPlan, Presence, Roster, WorkerReport
from service.cluster.remote.worker import WorkerActor
from service.errors import CheckpointUnavailable, NoWorkerReady, ServiceError
from service.telemetry.logs import configure_logging
from service.workers.pipe.messages import LoadReport
from service.workers.protocol import WorkerState

logger = logging.getLogger("service.manager")

_TICK_S = 0.5
_ANSWER_S = 2.0
_GONE_S = 10.0
"""A service that has not joined again for so long has gone."""

_CALLS_AT_ONCE = 100_000


class Manager:
    """Keeps `min_workers` actors, as Ray runs it: every method but `__init__` on one event loop."""

    def __init__(self, plan: ClusterPlan) -> None:
        configure_logging(plan.logs.log_level, plan.logs.log_format)
        self._plan = plan
        self._services: dict[str, tuple[Presence, str, float]] = {}
        self._workers: dict[str, Any] = {}
        self._reports: dict[str, WorkerReport] = {}
        self._added: set[CheckpointKey] = set()
        self._loading = asyncio.Lock()
        self._last_joined = time.monotonic()
        self._tending: asyncio.Task[None] | None = None

    async def join(self, presence: Presence, node_id: str) -> tuple[Roster, dict[str, Any]]:
        """Note that a service is there; return the workers, and the handle of each."""
        now = self._last_joined = time.monotonic()
        self._services[presence.service] = (presence, node_id, now)
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        names = {node: one.node_name for one, node, _ in self._services.values()}
        return Roster(tuple(self._workers), names), dict(self._workers)

    async def leave(self, service: str) -> None:
        """Note that a service has gone."""
        self._services.pop(service, None)

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport] | ServiceError:
        """Load a checkpoint on every ready worker, again if it is loaded.

        If one fails, those that did not have it unload it. A worker that starts later loads it too.
        """
        async with self._loading:
            reports = await self._ask_all()
            ready = [name for name, report in reports.items() if report.state is WorkerState.READY]
            if not ready:
                return NoWorkerReady("no worker of the cluster is ready; try again")
            before = {name for name in ready if key in reports[name].residents}
            answers = await self._gather({name: self._workers[name].load for name in ready}, key)
            failures = [answer for answer in answers.values() if isinstance(answer, ServiceError)]
            if failures:
                others = {name: self._workers[name].unload for name in ready if name not in before}
                await self._gather(others, key)
                return failures[0]
            self._added.add(key)
            return answers

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint on every worker, after its jobs."""
        async with self._loading:
            self._added.discard(key)
            await self._gather({name: worker.unload for name, worker in self._workers.items()}, key)

    @property
    def _wanted(self) -> tuple[CheckpointKey, ...]:
        of_services = (key for one, _, _ in self._services.values() for key in one.wanted)
        return tuple(dict.fromkeys([*of_services, *sorted(self._added)]))

    async def _tend(self) -> None:
        self._adopt()
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("the workers of the cluster could not be looked at")
            await asyncio.sleep(_TICK_S)

    async def _look(self) -> None:
        now = time.monotonic()
        for service, (_, _, joined) in list(self._services.items()):
            if now - joined > _GONE_S:
                del self._services[service]
        if not self._services and now - self._last_joined > self._plan.cluster.linger_s:
            self._end()
        for name in self._missing():
            self._workers[name] = self._start(name)
        for name, report in (await self._ask_all()).items():
            if not report.has_begun:
                self._workers[name].begin.remote(self._wanted)

    def _missing(self) -> Iterator[str]:
        for number in range(self._plan.cluster.min_workers):
            if (name := self._name(number)) not in self._workers:
                yield name

    def _name(self, number: int) -> str:
        return f"{self._plan.workers.devices[0].partition(':')[0]}/{number}"

    def _adopt(self) -> None:
        """Find the workers that an earlier manager has started."""
        for number in range(self._plan.cluster.max_workers):
            name = self._name(number)
            try:
                self._workers[name] = ray.get_actor(self._actor_name(name))
            except ValueError:
                continue

    def _actor_name(self, name: str) -> str:
        return f"{self._plan.name} {name}"

    def _start(self, name: str) -> Any:  # noqa: ANN401
        is_cpu = self._plan.workers.devices[0] == "cpu"
        logger.info("starting the worker %s", name)
        return (
            ray.remote(WorkerActor)
            .options(
                name=self._actor_name(name),
                get_if_exists=True,
                lifetime="detached",
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=_CALLS_AT_ONCE,
                num_cpus=self._plan.cluster.cpus_per_worker,
                num_gpus=0 if is_cpu else 1,
                scheduling_strategy="SPREAD",
            )
            .remote(self._plan)
        )

    async def _ask_all(self) -> dict[str, WorkerReport]:
        """Return the reports of the workers that answer in time."""
        calls = {name: worker.report for name, worker in self._workers.items()}
        answers = await self._gather(calls, within_s=_ANSWER_S)
        return {
            name: answer for name, answer in answers.items() if isinstance(answer, WorkerReport)
        }

    async def _gather(
        self, methods: dict[str, Any], *arguments: object, within_s: float | None = None
    ) -> dict[str, Any]:
        """Call a method of several actors; an actor that does not answer gives an error."""

        async def call(name: str, method: Any) -> object:  # noqa: ANN401
            try:
                return await asyncio.wait_for(_answer(method.remote(*arguments)), within_s)
            except (RayError, TimeoutError) as error:
                return CheckpointUnavailable(f"worker {name} did not answer: {_first_line(error)}")

        answers = await asyncio.gather(*(call(name, method) for name, method in methods.items()))
        return dict(zip(methods, answers, strict=True))

    def _end(self) -> None:
        """End all workers, and this actor."""
        logger.info("no service is left: the cluster's workers end")
        for worker in self._workers.values():
            ray.kill(worker, no_restart=True)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


async def _answer(reference: Awaitable[object]) -> object:
    return await reference


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
