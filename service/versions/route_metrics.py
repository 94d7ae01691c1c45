"""Metrics of each served category: its checkpoint and thresholds."""

from collections.abc import Iterable

from service.telemetry.metrics import Metrics
from service.versions.catalogue import Route


def publish_routes(metrics: Metrics, routes: Iterable[Route]) -> None:
    """Set the gauges to these routes, and remove those of all other categories."""
    metrics.category_info.clear()
    metrics.threshold.clear()
    for route in routes:
        checkpoint, calibration = route.checkpoint, route.calibration
        metrics.category_info.labels(route.category, checkpoint.name, checkpoint.version).set(1)
        metrics.threshold.labels(route.category, "image").set(calibration.image_threshold)
        if calibration.review_threshold is not None:
            metrics.threshold.labels(route.category, "review").set(calibration.review_threshold)
