"""The cluster as one service sees it, as metrics: workers, nodes, replicas, restarted actors."""

from collections.abc import Callable, Collection, Mapping

from model.checkpoints.key import CheckpointKey
from service.cluster.measures import Measures
from service.cluster.view import WorkerView
from service.telemetry.metrics import Metrics
from service.workers.protocol import WorkerState


class ClusterGauges:
    """Sets the metrics of the cluster at each look.

    Every service counts the same cluster: these metrics are alike on all nodes, and a sum over
    nodes would count each worker several times.
    """

    def __init__(
        self,
        metrics: Metrics,
        views: Mapping[str, WorkerView],
        replicas: Mapping[str, int],
        problem: Callable[[], str | None],
    ) -> None:
        self._metrics = metrics
        self._views = views
        self._replicas = replicas
        self._problem = problem
        self._incarnations: dict[str, str] = {}
        self._residents: dict[str, frozenset[CheckpointKey]] = {}
        self._shown: set[CheckpointKey] = set()

    def look(self, wanted: Collection[CheckpointKey]) -> None:
        """Set all; `wanted` are the checkpoints that this service serves."""
        views = list(self._views.values())
        self._metrics.cluster_away.set(bool(self._problem()))
        states = [view.state for view in views]
        for state in WorkerState:
            self._metrics.cluster_workers.labels(state.value).set(states.count(state))
        nodes = {view.report.node_id for view in views if view.is_ready and view.report}
        self._metrics.cluster_nodes.set(len(nodes))
        self._count_restarts(views)
        self._count_loads(views)
        self._show_missing({key for key in wanted if key.name in self._replicas}, views)

    def _count_restarts(self, views: Collection[WorkerView]) -> None:
        now = {view.name: view.report.incarnation for view in views if view.report}
        before, self._incarnations = self._incarnations, now
        restarted = [name for name in now if name in before and before[name] != now[name]]
        self._metrics.cluster_actor_restarts.inc(len(restarted))

    def _count_loads(self, views: Collection[WorkerView]) -> None:
        before = self._residents
        self._residents = {view.name: frozenset(view.residents) for view in views}
        for name, residents in self._residents.items():
            if name in before:
                self._metrics.cluster_loads.inc(len(residents - before[name]))

    def _show_missing(self, wanted: set[CheckpointKey], views: Collection[WorkerView]) -> None:
        for key in self._shown - wanted:
            self._metrics.replicas_missing.remove(key.name, key.version)
        for key in wanted:
            missing = self._replicas[key.name] - sum(key in view.residents for view in views)
            self._metrics.replicas_missing.labels(key.name, key.version).set(max(0, missing))
        self._shown = wanted


def measures_by_worker(views: Mapping[str, WorkerView]) -> dict[str, tuple[Measures, bool]]:
    """Return the metrics of each worker of this node, and whether it is ready."""
    return {view.name: (view.measures, view.is_ready) for view in views.values() if view.measures}
