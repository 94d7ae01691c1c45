"""Which worker of the cluster takes a job, or why none does."""

import asyncio
import math
from collections.abc import Callable, Mapping

from model.checkpoints.key import CheckpointKey
from service.cluster.messages import Answered, Unreachable
from service.cluster.placement import ranked
from service.cluster.view import WorkerView
from service.errors import DeadlineExceeded, NoWorkerReady, QueueFull
from service.settings import WorkerSettings
from service.workers.jobs import Priority

_EXPECTED_LOAD_S = 5.0


class Choice:
    """Chooses by the views of the workers; `queued_bytes` is the memory of all unanswered jobs."""

    def __init__(
        self,
        limits: WorkerSettings,
        views: Mapping[str, WorkerView],
        problem: Callable[[], str | None],
    ) -> None:
        self._limits = limits
        self._views = views
        self._problem = problem
        self.queued_bytes = 0

    def worker_for(
        self,
        key: CheckpointKey,
        deadline: float,
        priority: Priority,
        nbytes: int,
        but: WorkerView | None = None,
    ) -> WorkerView:
        """Return the worker that can compute a job first, not `but`.

        Raises `Unavailable`, with the time of a retry, or `DeadlineExceeded` if measured times
        predict that the job would be late. The actor checks again, with its own exact counts.
        """
        ready = [view for view in self._views.values() if view.is_ready and view is not but]
        if not ready:
            wait_s = min((view.expected_in_s for view in self._views.values()), default=10.0)
            raise NoWorkerReady(
                f"no worker of the cluster is ready: {self._problem() or 'they are starting'}",
                math.ceil(min(max(wait_s, 1.0), 60.0)),
            )
        staying = [view for view in ready if not view.is_leaving]
        view = self._soonest(staying or ready, key, priority)
        estimate_s = view.estimate_s(key, priority)
        self._check_room(view, key, priority, estimate_s)
        if self.queued_bytes and self.queued_bytes + nbytes > self._limits.max_queue_bytes:
            raise QueueFull(
                f"waiting images take {self.queued_bytes} bytes of memory, and this one would add "
                f"{nbytes}: at most {self._limits.max_queue_bytes} are allowed",
                math.ceil(estimate_s),
            )
        left_s = deadline - asyncio.get_running_loop().time()
        if estimate_s - view.seconds(key, 1) > left_s:
            raise DeadlineExceeded(
                f"the image would be answered in about {estimate_s:.2g} s, behind those that wait, "
                f"but its deadline is in {left_s:.2g} s: it was refused"
            )
        return view

    def _soonest(
        self, ready: list[WorkerView], key: CheckpointKey, priority: Priority
    ) -> WorkerView:
        """Return the worker that can compute a job first, with the load of its checkpoint.

        So a checkpoint spreads when its queues are longer than a load takes. Among workers that
        have not loaded it, the one that it prefers goes first, whichever service asks.
        """
        holders = [view for view in ready if key in view.residents]
        others = [view for view in ready if key not in view.residents]
        if others:
            load_s = max(view.load_s for view in ready) or _EXPECTED_LOAD_S
            names = [view.name for view in others]
            preferred = others[names.index(ranked(key, names)[0])]
            holders_s = min((view.estimate_s(key, priority) for view in holders), default=math.inf)
            if holders_s > preferred.estimate_s(key, priority) + load_s:
                return preferred
        return min(holders, key=lambda view: (view.estimate_s(key, priority), view.total))

    def _check_room(
        self, view: WorkerView, key: CheckpointKey, priority: Priority, estimate_s: float
    ) -> None:
        """Raise `QueueFull` if so many jobs are unanswered that the actor must refuse another."""
        # The actor counts only jobs that wait; one batch is computed, and one goes ahead.
        waiting = view.count(key) - 2 * view.batch_size(key)
        if waiting * (2 if priority is Priority.LOW else 1) >= self._limits.max_queue_size:
            raise QueueFull(
                f"{waiting} images are waiting for checkpoint {key}, the most allowed",
                math.ceil(estimate_s),
            )


def deserves_another(answer: Answered | Unreachable | None) -> bool:
    """Whether a job was lost or refused before it was computed, so that another worker may."""
    if isinstance(answer, Answered):
        return isinstance(answer.outcome, QueueFull | NoWorkerReady)
    return isinstance(answer, Unreachable)
