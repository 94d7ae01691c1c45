"""Makes what inspects: worker pool, decode children, pipeline, observers, the doors' service."""

import difflib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from service.api.detect.batch import DetectBatchLimits, DetectDoor
from service.api.detect.idempotency import Answers
from service.api.limits import BodyLimits
from service.api.service import Service
from service.assembly.foundations import Foundations
from service.cluster.pool import ClusterPool
from service.inspection.drift import DriftMonitor
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Preparer
from service.inspection.inspect_part import InspectPart
from service.inspection.observers import LogObserver, MetricsObserver, Observers, TracingObserver
from service.inspection.pipeline import Pipeline
from service.inspection.readiness import ReadinessCheck
from service.inspection.shadow import Shadows
from service.settings import InspectionSettings, Settings
from service.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.rollout import Rollout
from service.workers.pool import WorkerPool
from service.workers.protocol import Workers

logger = logging.getLogger("service.inspecting")


def worker_pool(base: Foundations) -> WorkerPool | ClusterPool:
    """Return the worker processes, or a cluster's workers; not started."""
    settings, registry = base.settings, base.registry
    if settings.cluster.address is not None:
        _warn_of_unknown(settings.cluster.replicas, registry)
        return ClusterPool(settings, lambda: registry.checkpoints, base.metrics, registry.report)
    return WorkerPool(
        settings.workers,
        registry.checkpoints,
        base.metrics,
        registry.report,
        weights_dir=settings.versions.weights_dir,
        logs=settings.telemetry,
    )


def _warn_of_unknown(replicas: Mapping[str, int], registry: Registry) -> None:
    """Log each name that is not in the store: it has no effect until such a checkpoint is there."""
    names = {version.key.name for version in registry.versions}
    of_category = {c: version.key.name for version in registry.versions for c in version.categories}
    for name in sorted(set(replicas) - names):
        similar = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        if name in of_category:
            hint = f"; it is a category of the checkpoint {of_category[name]}"
        logger.warning(
            "MAMBAAD_CLUSTER__REPLICAS names %s, but the store has no such checkpoint%s", name, hint
        )


def decode_children(settings: InspectionSettings, metrics: Metrics) -> DecodeChildren:
    """Return the processes that decode large images, not started."""
    return DecodeChildren(
        settings.decode_processes,
        ImageLimits.of(settings).decoding,
        settings.max_decode_ms / 1000,
        lambda reason: metrics.decode_children_ended.labels(reason).inc(),
    )


def service_of(
    base: Foundations,
    workers: Workers,
    readiness: ReadinessCheck,
    threads: ThreadPoolExecutor,
    children: DecodeChildren,
) -> Service:
    """Return the objects that the routes use."""
    settings, registry, metrics = base.settings, base.registry, base.metrics
    timeout_s = settings.http.request_timeout_ms / 1000
    shadows = Shadows(workers, metrics, settings.workers.max_batch_size, timeout_s)
    pipeline = Pipeline(
        workers,
        threads,
        Preparer(ImageLimits.of(settings.inspection), settings.workers.max_queue_bytes, children),
        max_preparing=settings.workers.max_queue_size * settings.most_workers,
        timeout_s=timeout_s,
    )
    limits = BodyLimits(
        settings.inspection.max_image_bytes,
        settings.http.max_request_bytes,
        settings.api.max_files_per_request,
    )
    metrics.ready.set_function(lambda: float(readiness().ready))
    lifecycle = Lifecycle(registry, workers, drain_s=timeout_s)
    rollout = Rollout(registry, lifecycle, base.state.deployment, metrics)
    drift = DriftMonitor(
        metrics, settings.inspection.drift_window_parts, settings.inspection.drift_max_ng_share
    )
    observers = _observers(metrics, base.tracing, drift, shadows)
    recorder = base.archive.recorder if base.archive else None
    return Service(
        registry,
        workers,
        readiness,
        InspectPart(registry, pipeline, observers, recorder),
        lifecycle,
        rollout,
        shadows,
        limits,
        metrics,
        drift,
        recorder,
        base.state.sharing,
    )


def _observers(
    metrics: Metrics, tracing: Tracing, drift: DriftMonitor, shadows: Shadows
) -> Observers:
    """Return the observers of every inspection."""
    return Observers(
        [
            MetricsObserver(metrics),
            drift,
            LogObserver(),
            TracingObserver(tracing),
            shadows,
        ],
        metrics,
    )


def detect_door(settings: Settings, shutdown: Shutdown, metrics: Metrics) -> DetectDoor:
    """Return what only `/detect` and `/detect/batch` need."""
    batches = DetectBatchLimits(
        BodyLimits(
            settings.inspection.max_image_bytes,
            settings.http.max_request_bytes,
            settings.api.max_images_per_batch,
        ),
        timeout_s=settings.api.batch_request_timeout_ms / 1000,
        # Fills the next batch while one is computed, and leaves room for others in the queue.
        at_once=2 * settings.workers.max_batch_size * settings.most_workers,
        leaving_s=settings.http.request_timeout_ms / 1000,
    )
    answers = Answers(
        settings.api.idempotency_max_answers,
        settings.api.idempotency_max_bytes,
        settings.api.idempotency_ttl_s,
        metrics,
    )
    return DetectDoor(batches, answers, shutdown)
