"""Every Prometheus metric of the service, declared once.

`traffic` counts requests, `inspection` parts, `workers` batches, `models` checkpoints, `archive`
commits of the journal, `media` images and raw maps of the archive, `retention` what is deleted from
it, `delivery` what sinks take, `shared` the state that nodes share, `cluster` the workers that they
share. A counter's name ends in `_total`; a name includes its unit: seconds, bytes or ratio.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from service.telemetry.metrics.archive import ArchiveMetrics
from service.telemetry.metrics.cluster import ClusterMetrics
from service.telemetry.metrics.delivery import DeliveryMetrics
from service.telemetry.metrics.inspection import InspectionMetrics
from service.telemetry.metrics.labels import OTHER, BoundedLabel
from service.telemetry.metrics.media import MediaMetrics
from service.telemetry.metrics.models import ModelMetrics
from service.telemetry.metrics.retention import RetentionMetrics
from service.telemetry.metrics.shared import SharedMetrics
from service.telemetry.metrics.traffic import TrafficMetrics
from service.telemetry.metrics.workers import WorkerMetrics

__all__ = ["OTHER", "BoundedLabel", "Metrics"]

_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
_WITHOUT_SUM = {"mambaad_score_margin_ratio"}  # negative values: its sum can fall


class Metrics(
    TrafficMetrics,
    InspectionMetrics,
    WorkerMetrics,
    ModelMetrics,
    ArchiveMetrics,
    MediaMetrics,
    RetentionMetrics,
    DeliveryMetrics,
    SharedMetrics,
    ClusterMetrics,
):
    """The service's metrics in one registry.

    Label values are bounded and never come from a client: `route` is a route's template,
    `category`, `model` and `version` come from the checkpoint store, `worker` and `sink` from the
    settings, `key` passes a `BoundedLabel`, and all others are constants in the code.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        TrafficMetrics.__init__(self, registry)
        InspectionMetrics.__init__(self, registry)
        WorkerMetrics.__init__(self, registry)
        ModelMetrics.__init__(self, registry)
        ArchiveMetrics.__init__(self, registry)
        MediaMetrics.__init__(self, registry)
        RetentionMetrics.__init__(self, registry)
        DeliveryMetrics.__init__(self, registry)
        SharedMetrics.__init__(self, registry)
        ClusterMetrics.__init__(self, registry)

    def names(self) -> Iterator[str]:
        """Yield the name of every time series, as used in a query."""
        for family in self.registry.collect():
            for suffix in _SUFFIXES[family.type]:
                if suffix != "_sum" or family.name not in _WITHOUT_SUM:
                    yield family.name + suffix
