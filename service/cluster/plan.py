"""What all workers of a cluster need, from a service's settings."""

import hashlib
from importlib.metadata import PackageNotFoundError, version

from service.cluster.messages import ClusterPlan
from service.settings import Settings


def plan_of(settings: Settings) -> ClusterPlan:
    """Return what all workers need; its name is another one for other settings or releases."""
    workers, weights_dir = settings.workers, settings.versions.weights_dir.resolve()
    try:
        release = version("mambaad-service")
    except PackageNotFoundError:
        release = "not installed"
    logs = settings.telemetry
    cluster = settings.cluster
    replicas = sorted(cluster.replicas.items())
    of_workers = (cluster.min_workers, cluster.max_workers, cluster.cpus_per_worker, replicas)
    parts = (release, of_workers, workers, weights_dir, logs.log_level, logs.log_format)
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    return ClusterPlan(f"mambaad {digest}", settings.cluster, workers, weights_dir, logs)
