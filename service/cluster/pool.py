"""The workers of a cluster, as one service sees them; implements `Workers`."""

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Self

from model.checkpoints.key import CheckpointKey
from service.cluster.bridge import BridgeClient
from service.cluster.choice import Choice, deserves_another
from service.cluster.gauges import ClusterGauges, measures_by_worker
from service.cluster.measures import WorkerSeries
from service.cluster.messages import (
    Answered,
    Cancel,
    ClusterJob,
    Hello,
    Inspect,
    LoadEverywhere,
    Measured,
    Presence,
    Reported,
    Roster,
    UnloadEverywhere,
    Unreachable,
)
from service.cluster.plan import plan_of
from service.cluster.view import NO_REPORT, WorkerView
from service.errors import (
    CheckpointUnavailable,
    NoWorkerReady,
    ServiceError,
    WorkerLost,
)
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import LoadReport, Resident
from service.workers.protocol import SpareState, SpareStatus, WorkerState, WorkerStatus

logger = logging.getLogger("service.cluster")

_LOOK_EVERY_S = 0.25


class ClusterPool:
    """Assigns this service's jobs to the workers of the cluster. Belongs to one event loop.

    `wanted` returns the checkpoints that this service serves: each new worker loads them. When a
    worker is ready, `on_refused` is called with its name and the checkpoints that it could not
    load, each with the reason.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: Callable[[], tuple[CheckpointKey, ...]],
        metrics: Metrics,
        on_refused: Callable[[str, Mapping[CheckpointKey, str]], None],
    ) -> None:
        self._wanted = wanted
        self._on_refused = on_refused
        self._plan = plan_of(settings)
        self._presence = Presence(uuid.uuid4().hex, settings.archive.node_name)
        self._bridge = BridgeClient(self._hello, self._take_news)
        self._views: dict[str, WorkerView] = {}
        self._abandoned: dict[Job, asyncio.Future[Unreachable]] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._beside: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._roster_problem: str | None = "the cluster's manager has not answered yet"
        self._node_names: Mapping[str, str] = {}
        self._is_parted = False
        self._choice = Choice(settings.workers, self._views, lambda: self.problem)
        self._metrics = metrics
        replicas = settings.cluster.replicas
        self._gauges = ClusterGauges(metrics, self._views, replicas, lambda: self.problem)
        metrics.expect_spare()
        WorkerSeries(metrics, lambda: measures_by_worker(self._views))

    async def __aenter__(self) -> Self:
        """Start the bridge, without waiting until workers are ready."""
        self._beside = [asyncio.create_task(self._bridge.run()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the bridge; jobs without an answer fail with `NoWorkerReady`."""
        for task in (*self._beside, *self._carrying):
            task.cancel()
        await asyncio.gather(*self._beside, *self._carrying, return_exceptions=True)

    @property
    def problem(self) -> str | None:
        """Why the cluster's head or manager cannot be asked now; jobs may go on all the same."""
        return self._bridge.problem or self._roster_problem

    def unready(self) -> list[WorkerStatus]:
        """Return all workers if none is ready; one ready worker is enough."""
        return [] if any(view.is_ready for view in self._views.values()) else self.status()

    def status(self) -> list[WorkerStatus]:
        """Return the state of each worker; of the cluster itself while no worker is known."""
        if not self._views:
            why = self.problem or "Ray has started no worker yet"
            return [WorkerStatus("cluster", WorkerState.STARTING, why, 0)]
        return [view.status for view in self._views.values()]

    def spare(self) -> SpareStatus:
        """Return that there is none: another worker takes over."""
        return SpareStatus(SpareState.OFF, "in a cluster the other workers take over")

    async def wait_change(self) -> None:
        """Wait until another worker becomes ready."""
        self._changed.clear()
        await self._changed.wait()

    def residents(self) -> dict[str, Mapping[CheckpointKey, Resident]]:
        """Return the loaded checkpoints by worker name."""
        return {view.name: view.residents for view in self._views.values()}

    def replicas(self, key: CheckpointKey) -> int | None:
        """Return how many workers at least should have a checkpoint loaded; None: not set."""
        return self._plan.cluster.replicas.get(key.name)

    def holds(self, key: CheckpointKey) -> bool:
        """Whether every ready worker has loaded a checkpoint; one, if their memory is limited."""
        ready = [key in view.residents for view in self._views.values() if view.is_ready]
        return any(ready) and (all(ready) or self._plan.workers.max_model_bytes is not None)

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport]:
        """Load a checkpoint on the cluster's ready workers, as `Workers.load` says."""
        number = self._bridge.number()
        try:
            result = await self._bridge.ask(number, LoadEverywhere(number, key))
        except WorkerLost as error:
            raise CheckpointUnavailable(str(error)) from error
        if isinstance(result, ServiceError):
            raise result
        assert isinstance(result, dict)
        return result

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint on every worker, once its queued and running jobs are done."""
        number = self._bridge.number()
        try:
            result = await self._bridge.ask(number, UnloadEverywhere(number, key))
        except WorkerLost as error:
            logger.warning("checkpoint %s was not unloaded: %s", key, error)
            return
        if isinstance(result, ServiceError):
            logger.warning("checkpoint %s was not unloaded: %s", key, result)

    def admit(
        self, checkpoint: CheckpointKey, deadline: float, priority: Priority, nbytes: int
    ) -> None:
        """Raise the error that `submit` would raise, before any work is done."""
        self._choice.worker_for(checkpoint, deadline, priority, nbytes)

    def submit(self, job: Job) -> None:
        """Send a job to the worker that can compute it soonest. Raises as `admit`."""
        view = self._choice.worker_for(job.checkpoint, job.deadline, job.priority, job.nbytes)
        task = asyncio.create_task(self._carry(job, view))
        # Counted from now on, so that the next job sees it.
        view.jobs.add(job)
        self._choice.queued_bytes += job.nbytes
        self._carrying.add(task)
        task.add_done_callback(lambda done: self._end_carrying(job, done))

    async def _carry(self, job: Job, view: WorkerView) -> None:
        """Have a job computed; once more elsewhere if the worker was lost or had no room."""
        answer = await self._send(job, view)
        if deserves_another(answer) and not job.future.done():
            try:
                other = self._choice.worker_for(
                    job.checkpoint, job.deadline, job.priority, 0, but=view
                )
            except ServiceError as error:
                logger.info("an image cannot go to another worker: %s", error)
            else:
                reason = "lost" if isinstance(answer, Unreachable) else "refused"
                self._metrics.cluster_resent.labels(reason).inc()
                view.jobs.discard(job)
                other.jobs.add(job)
                answer = await self._send(job, other)
        if isinstance(answer, Unreachable):
            why = f"the worker was lost with this image on it ({answer.reason}): not inspected"
            job.fail(WorkerLost(why, math.ceil(view.expected_in_s)))
        elif answer is not None:
            job.taken_at = job.queued_at + answer.queue_ms / 1000
            if isinstance(answer.outcome, ServiceError):
                job.fail(answer.outcome)
            else:
                job.settle(answer.outcome)

    async def _send(self, job: Job, view: WorkerView) -> Answered | Unreachable | None:
        """Return a worker's answer to a job; None if the caller has cancelled it."""
        number, loop = self._bridge.number(), asyncio.get_running_loop()
        sent_at, left_s = loop.time(), job.deadline - loop.time()
        sent = ClusterJob(
            job.checkpoint, job.item, job.pixels, left_s, job.priority, job.held_bytes
        )
        if job.checkpoint not in view.residents:
            self._metrics.cluster_cold.inc()
        asking = asyncio.create_task(self._bridge.ask(number, Inspect(number, view.name, sent)))
        abandoned = self._abandoned[job] = loop.create_future()
        try:
            await asyncio.wait({asking, abandoned, job.future}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                error = asking.exception()
                if isinstance(error, WorkerLost):
                    return Unreachable(str(error))
                answer = asking.result()
                assert isinstance(answer, Answered | Unreachable)
                if isinstance(answer, Answered):
                    hop_s = loop.time() - sent_at - answer.inside_s
                    self._metrics.cluster_hop_seconds.observe(hop_s)
                return answer
            self._bridge.tell(Cancel(number))
            return abandoned.result() if abandoned.done() else None
        finally:
            asking.cancel()
            self._abandoned.pop(job, None)

    def _end_carrying(self, job: Job, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        self._choice.queued_bytes -= job.nbytes
        for view in self._views.values():
            view.jobs.discard(job)
        if task.cancelled():
            job.fail(NoWorkerReady("the service is shutting down"))
        elif error := task.exception():
            logger.error("a job could not be carried to a worker", exc_info=error)
            job.fail(WorkerLost("the image could not be sent to a worker: it was not inspected"))

    def _hello(self) -> Hello:
        self._presence = Presence(self._presence.service, self._presence.node_name, self._wanted())
        return Hello(self._plan, self._presence)

    def _take_news(self, news: Reported | Measured | Roster | None) -> None:
        now = asyncio.get_running_loop().time()
        if news is None:
            self._is_parted = True
            for view in self._views.values():
                view.note_loss(f"the cluster cannot be reached: {self._bridge.problem}")
        elif isinstance(news, Roster):
            self._take_roster(news, now)
        elif isinstance(news, Measured):
            if news.worker in self._views:
                self._views[news.worker].measures = news.measures
        elif news.worker in self._views:
            self._take_report(self._views[news.worker], news, now)

    def _take_report(self, view: WorkerView, news: Reported, now: float) -> None:
        if news.report is None:
            view.note_loss(f"its actor does not answer: {news.reason}")
            return
        # Without a service, a node has only the number that Ray gives it.
        node_id = news.report.node_id
        view.node = self._node_names.get(node_id, node_id[:8])
        if view.note(news.report, now):
            self._on_refused(view.name, news.report.refused)
            self._changed.set()

    def _take_roster(self, roster: Roster, now: float) -> None:
        self._roster_problem = roster.problem
        if roster.problem is not None:
            return
        for name in self._views.keys() - set(roster.workers):
            del self._views[name]
        for name in roster.workers:
            view = self._views.setdefault(name, WorkerView(name, self._presence.service, now))
            view.is_leaving = name in roster.leaving
            if self._is_parted:
                view.note_loss(NO_REPORT)
        self._node_names, self._is_parted = roster.node_names, False

    async def _look(self) -> None:
        """Give up workers that fall silent, and tell the manager of changed routes."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for view in self._views.values():
                if view.is_silent(loop.time(), self._plan.cluster.silence_s):
                    self._abandon(view)
            self._gauges.look(self._wanted())
            if self._wanted() != self._presence.wanted:
                self._bridge.tell(self._hello().presence)

    def _abandon(self, view: WorkerView) -> None:
        if not view.problem:
            view.note_loss("its actor has fallen silent")
            logger.warning("the worker %s has fallen silent: its images go to another", view.name)
        reason = view.problem
        for job in list(view.jobs):
            abandoned = self._abandoned.get(job)
            if abandoned is not None and not abandoned.done():
                abandoned.set_result(Unreachable(reason))
