"""The manager of a cluster's workers: one actor for all services with the same plan.

It starts workers, begins each new actor with the checkpoints that the services want, and ends all
when no service is left. It keeps nothing that it could not ask for again: if it dies, Ray starts
another, which finds the workers by their names. Images never pass through it.
"""

import asyncio
import logging
import math
import threading
import time
from typing import Any

import ray

from model.checkpoints.key import CheckpointKey
from service.cluster.messages import ClusterPlan, Presence, Roster, WorkerReport
from service.cluster.placement import order_of_loads, ranked
from service.cluster.remote.calls import call_all, first_line
from service.cluster.remote.draining import Leaving, draining_nodes
from service.cluster.remote.killing import kill_actor_process
from service.cluster.remote.worker import WorkerActor
from service.cluster.replicas import Replicas
from service.cluster.scaling import Scaler
from service.errors import CheckpointUnavailable, NoWorkerReady, ServiceError
from service.telemetry.logs import configure_logging
from service.workers.pipe.messages import LoadReport
from service.workers.protocol import WorkerState

logger = logging.getLogger("service.manager")

_TICK_S = 0.5
_ANSWER_S = 2.0
_GONE_S = 10.0
"""A service that has not joined again for so long has gone."""

_STUCK = 6
"""Times `silence_s`: an actor that says nothing for so long is stuck, which Ray does not notice."""

_HOLDERS = 2
_CALLS_AT_ONCE = 100_000


class Manager:
    """Keeps as many actors as the queues need.

    Ray runs every method but `__init__` on one event loop.
    """

    def __init__(self, plan: ClusterPlan) -> None:
        configure_logging(plan.logs.log_level, plan.logs.log_format)
        self._plan = plan
        self._services: dict[str, tuple[Presence, str, float]] = {}
        self._workers: dict[str, Any] = {}
        self._added: set[CheckpointKey] = set()
        self._retired: dict[str, tuple[float, Any]] = {}
        self._heard: dict[str, tuple[float, WorkerReport]] = {}
        self._silence_s = _STUCK * plan.cluster.silence_s
        self._leaving = Leaving()
        self._target = plan.cluster.min_workers
        self._scaler = Scaler(
            plan.cluster.min_workers,
            plan.cluster.max_workers,
            plan.cluster.queue_age_ms / 1000,
            plan.cluster.idle_s,
        )
        self._replicas = Replicas(plan.cluster.replicas)
        self._told: dict[str, tuple[str, frozenset[CheckpointKey]]] = {}
        self._placing: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()
        self._last_joined = time.monotonic()
        self._tending: asyncio.Task[None] | None = None
        threading.Thread(target=self._end_without_services, daemon=True).start()

    async def join(self, presence: Presence, node_id: str) -> tuple[Roster, dict[str, Any]]:
        """Note that a service is there; return the workers, and the handle of each."""
        now = self._last_joined = time.monotonic()
        self._services[presence.service] = (presence, node_id, now)
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        names = {node: one.node_name for one, node, _ in self._services.values()}
        roster = Roster(tuple(self._workers), names, leaving=self._leaving.names)
        return roster, dict(self._workers)

    async def leave(self, service: str) -> None:
        """Note that a service has gone."""
        self._services.pop(service, None)

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport] | ServiceError:
        """Load a checkpoint on every ready worker, again if it is loaded.

        If memory for checkpoints is limited, only on the two that it prefers, or as many as the
        settings say. If one fails, those that did not have it unload it. A worker that starts later
        loads it too.
        """
        async with self._loading:
            reports = await self._ask_all()
            ready = [name for name, report in reports.items() if report.state is WorkerState.READY]
            if self._plan.workers.max_model_bytes is not None:
                ready = ranked(key, ready)[: self._plan.cluster.replicas.get(key.name, _HOLDERS)]
            if not ready:
                return NoWorkerReady("no worker of the cluster is ready; try again")
            before = {name for name in ready if key in reports[name].residents}
            answers = await call_all({name: self._workers[name].load for name in ready}, key)
            for name, answer in answers.items():
                if isinstance(answer, Exception):
                    new = {one: self._workers[one].unload for one in ready if one not in before}
                    await call_all(new, key)
                    return _as_refusal(name, answer)
            self._added.add(key)
            return answers

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint on every worker, after its jobs."""
        async with self._loading:
            self._added.discard(key)
            self._replicas.pause(key, self._workers, time.monotonic())
            await call_all({name: worker.unload for name, worker in self._workers.items()}, key)

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
        for name in self._names:
            if name not in self._workers:
                _, retired = self._retired.pop(name, (0.0, None))
                self._workers[name] = retired or self._start(name)
        reports = await self._ask_all()
        for name, report in reports.items():
            if not report.has_begun:
                targets = self._plan.cluster.replicas
                order = order_of_loads(name, self._wanted, self._names, targets)
                self._workers[name].begin.remote(order)
        self._place(reports, now)
        self._scale(reports, now)
        await self._end_retired(now)
        await self._move(reports)

    @property
    def _names(self) -> list[str]:
        return [self._name(number) for number in range(self._target)]

    def _place(self, reports: dict[str, WorkerReport], now: float) -> None:
        """Have each worker keep its checkpoints, and load one that too few have."""
        if self._plan.workers.max_model_bytes is None:
            return  # every worker loads all of them, and unloads none
        ready = {name: one for name, one in reports.items() if one.state is WorkerState.READY}
        residents = {name: report.residents.keys() for name, report in ready.items()}
        self._replicas.look(self._wanted, residents, now)
        for name, report in ready.items():
            keeping = report.incarnation, self._replicas.kept_by(name)
            if self._told.get(name) != keeping:
                self._workers[name].keep.remote(keeping[1])
                self._told[name] = keeping
        is_free = self._placing is None or self._placing.done()
        if is_free and (load := self._replicas.next_load()):
            self._placing = asyncio.create_task(self._load_replica(*load))

    async def _load_replica(self, key: CheckpointKey, name: str) -> None:
        async with self._loading:
            worker = self._workers.get(name)
            if worker is None:
                return
            within_s = self._plan.workers.startup_timeout_s
            answer = (await call_all({name: worker.place}, key, within_s=within_s))[name]
        failed = isinstance(answer, Exception)
        if failed:
            logger.warning("the worker %s cannot keep checkpoint %s: %s", name, key, answer)
        self._replicas.note_load(key, name, time.monotonic(), failed=failed)

    def _scale(self, reports: dict[str, WorkerReport], now: float) -> None:
        """Decide how many workers there should be; services send no more jobs to others."""
        self._target = self._scaler.decide(
            self._target,
            all_ready=len(reports) == self._target
            and all(report.state is WorkerState.READY for report in reports.values()),
            oldest_s=max((report.oldest_s for report in reports.values()), default=0.0),
            jobs=sum(report.jobs for report in reports.values()),
            now=now,
        )
        for name in self._workers.keys() - set(self._names):
            logger.info("the worker %s ends, because the others can do its work", name)
            self._retired[name] = now, self._workers.pop(name)

    async def _end_retired(self, now: float) -> None:
        """End workers without a job, once every service has heard that they retire."""
        for name, (since, worker) in list(self._retired.items()):
            if now - since < _GONE_S:
                continue
            report = (await call_all({name: worker.report}, within_s=_ANSWER_S))[name]
            if not isinstance(report, WorkerReport) or not report.jobs:
                ray.kill(worker, no_restart=True)
                del self._retired[name]

    async def _move(self, reports: dict[str, WorkerReport]) -> None:
        """Have workers and this actor started elsewhere, if their nodes are drained."""
        draining = await asyncio.to_thread(draining_nodes)
        self._leaving.look(reports, draining)
        heard_at = min((joined for _, _, joined in self._services.values()), default=math.inf)
        for name in self._leaving.done(reports, heard_at):
            logger.info("the worker %s goes elsewhere: its Ray node is drained", name)
            ray.kill(self._workers[name], no_restart=False)
        stays = any(report.node_id not in draining for report in reports.values())
        is_drained = bool(draining) and ray.get_runtime_context().get_node_id() in draining
        if is_drained and stays and not self._leaving.names:
            logger.info("the manager goes elsewhere: its Ray node is drained")
            ray.kill(ray.get_runtime_context().current_actor, no_restart=False)

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
            self._target = max(self._target, number + 1)

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
        """Return the reports of the workers that answer in time; has silent ones started again."""
        calls = {name: worker.report for name, worker in self._workers.items()}
        answers = await call_all(calls, within_s=_ANSWER_S)
        now = time.monotonic()
        for name, answer in answers.items():
            if isinstance(answer, WorkerReport):
                self._heard[name] = now, answer
            elif not isinstance(answer, TimeoutError):
                self._heard.pop(name, None)  # Ray knows, and starts it again
            elif name in self._heard and now - self._heard[name][0] > self._silence_s:
                logger.error("the worker %s has fallen silent: another process starts", name)
                report = self._heard[name][1]
                self._heard[name] = now, report
                if report.pid is not None:
                    kill_actor_process(report.node_id, report.pid, WorkerActor.__name__)
        return {
            name: answer for name, answer in answers.items() if isinstance(answer, WorkerReport)
        }

    def _end_without_services(self) -> None:
        """End what an earlier manager has left, unless a service joins in time."""
        time.sleep(max(self._plan.cluster.linger_s, _GONE_S))
        if self._tending is None and ray.is_initialized():
            self._adopt()
            self._end()

    def _end(self) -> None:
        """End all workers, and this actor."""
        logger.info("no service is left: the cluster's workers end")
        for worker in (*self._workers.values(), *(one for _, one in self._retired.values())):
            ray.kill(worker, no_restart=True)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def _as_refusal(name: str, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    return CheckpointUnavailable(f"worker {name} did not answer: {first_line(error)}")
