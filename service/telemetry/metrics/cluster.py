"""Metrics of a cluster's workers, as each service sees them; all 0 without a cluster."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.metrics.labels import from_zero

_HOP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ClusterMetrics:
    """The cluster, alike on all nodes; and the images that this node's service sends there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_state(registry)
        self.cluster_hop_seconds = Histogram(
            "mambaad_cluster_hop_seconds",
            "Time that an image and its answer were on their way between this service and a "
            "worker's actor: all of their time but that in the actor.",
            buckets=_HOP_S,
            registry=registry,
        )
        self.cluster_resent = Counter(
            "mambaad_cluster_images_resent_total",
            "Images sent to a second worker, because the first was lost or refused them (lost, "
            "refused).",
            ("reason",),
            registry=registry,
        )
        from_zero(self.cluster_resent, ("lost", "refused"))

        self.cluster_cold = Counter(
            "mambaad_cluster_images_cold_total",
            "Images sent to a worker that had not loaded their checkpoint, so that they waited for "
            "a load.",
            registry=registry,
        )

    def _declare_state(self, registry: CollectorRegistry) -> None:
        self.cluster_away = Gauge(
            "mambaad_cluster_away",
            "1 while this service cannot ask the cluster's head or manager.",
            registry=registry,
        )
        self.cluster_workers = Gauge(
            "mambaad_cluster_workers",
            "Workers that the cluster should have, by state (ready, starting, restarting, "
            "stopped); the same on every node.",
            ("state",),
            registry=registry,
        )
        for state in ("ready", "starting", "restarting", "stopped"):
            self.cluster_workers.labels(state)
        self.cluster_nodes = Gauge(
            "mambaad_cluster_nodes",
            "Machines with a ready worker; the same on every node.",
            registry=registry,
        )
        self.cluster_actor_restarts = Counter(
            "mambaad_cluster_actor_restarts_total",
            "Workers that another actor replaced, because a process or a machine was lost; each "
            "node counts all.",
            registry=registry,
        )
        self.cluster_loads = Counter(
            "mambaad_cluster_model_loads_total",
            "Checkpoints that workers have loaded since this service knows them; each node counts "
            "all.",
            registry=registry,
        )
        self.replicas_missing = Gauge(
            "mambaad_cluster_replicas_missing",
            "Workers that should have a checkpoint loaded by MAMBAAD_CLUSTER__REPLICAS, and have "
            "not; the same on every node.",
            ("model", "version"),
            registry=registry,
        )
