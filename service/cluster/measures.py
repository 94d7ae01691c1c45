"""The metrics of a node's workers on the page of its service.

An actor counts with the same metrics as a pool. The service of the same node shows their series
instead of its own, which would stay empty: so each worker is on one node's page, and sums over
nodes are right.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.telemetry.metrics import Metrics

_WORKER = "worker"
_UP = "mambaad_worker_up"

Measures = tuple[Metric, ...]


def measures_of(metrics: Metrics) -> Measures:
    """Return every family with a series of a worker, as of now."""
    families = (
        family
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.collect()
    )
    return tuple(family for family in families if _is_of_worker(family))


class WorkerSeries(Collector):
    """Shows the measures of workers in place of the metrics that a pool would count with.

    `latest` returns the measures of each worker of this node, and whether it is ready.
    """

    def __init__(
        self, metrics: Metrics, latest: Callable[[], Mapping[str, tuple[Measures, bool]]]
    ) -> None:
        self._latest = latest
        for name in _names_of_worker_metrics(metrics):
            metrics.registry.unregister(getattr(metrics, name))
            setattr(metrics, name, Family(self, next(iter(getattr(metrics, name).collect())).name))
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield each family once, with the series of all workers."""
        merged: dict[str, Metric] = {}
        for worker, (families, is_ready) in self._latest().items():
            for family in families:
                target = merged.get(family.name)
                if target is None:
                    target = Metric(family.name, family.documentation, family.type, family.unit)
                    merged[family.name] = target
                target.samples += _renamed(family.samples, worker, is_ready=is_ready)
        yield from merged.values()

    def describe(self) -> Iterable[Metric]:
        """Return no families: they are known once workers are."""
        return []


class Family:
    """One family of `WorkerSeries`, for those who read a single metric."""

    def __init__(self, series: WorkerSeries, name: str) -> None:
        self._series = series
        self._name = name

    def collect(self) -> Iterator[Metric]:
        """Yield the family, if there is a series."""
        return (family for family in self._series.collect() if family.name == self._name)


def _names_of_worker_metrics(metrics: Metrics) -> list[str]:
    """Return the attributes whose series have the label `worker`, of which none exists yet."""
    return [
        name
        for name, metric in vars(metrics).items()
        if isinstance(metric, MetricWrapperBase) and _WORKER in metric._labelnames
    ]


def _is_of_worker(family: Metric) -> bool:
    return any(_WORKER in sample.labels for sample in family.samples)


def _renamed(samples: list[Sample], worker: str, *, is_ready: bool) -> list[Sample]:
    """Return samples with the worker's name in the cluster; a lost worker is not up."""
    renamed = [
        sample._replace(labels={**sample.labels, _WORKER: worker})
        for sample in samples
        if _WORKER in sample.labels
    ]
    if samples and samples[0].name == _UP:
        return [sample._replace(value=float(is_ready)) for sample in renamed]
    return renamed
