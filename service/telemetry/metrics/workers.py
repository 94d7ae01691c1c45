"""Metrics of queues, batches, workers and their devices."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.metrics.labels import SECONDS, from_zero

_RECOVERY_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class WorkerMetrics:
    """Queues, batches and workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_queues(registry)
        self._declare_batches(registry)
        self._declare_workers(registry)

    def expect_worker(self, worker: str) -> None:
        """Export a worker's series at 0."""
        from_zero(self.dropped, [worker], ("shed", "cancelled", "expired"))
        from_zero(self.batches_released, [worker], ("full", "idle", "delay"))
        from_zero(self.batches_split, [worker], ("failed", "out-of-memory"))
        for metric in (self.batch_size, self.batch_seconds, self.compute_seconds):
            from_zero(metric, [worker])
        from_zero(self.worker_restarts, [worker])
        from_zero(self.takeovers, [worker])
        from_zero(self.recovery_seconds, [worker])

    def expect_spare(self) -> None:
        """Export the spare's states: off."""
        for state in ("off", "waiting", "no-memory", "preparing", "ready"):
            self.spare_state.labels(state).set(state == "off")

    def _declare_queues(self, registry: CollectorRegistry) -> None:
        self.queue_depth = Gauge(
            "mambaad_queue_depth",
            "Images waiting for a worker.",
            ("worker",),
            registry=registry,
        )
        self.queue_capacity = Gauge(
            "mambaad_queue_capacity",
            "Images of one checkpoint that may wait for a worker at once.",
            ("worker",),
            registry=registry,
        )
        self.queue_fullness = Gauge(
            "mambaad_queue_fullness_ratio",
            "Longest checkpoint queue as a fraction of its capacity.",
            ("worker",),
            registry=registry,
        )
        self.queue_bytes = Gauge(
            "mambaad_queue_memory_bytes",
            "Memory of the images waiting for a worker.",
            ("worker",),
            registry=registry,
        )
        self.queue_oldest = Gauge(
            "mambaad_queue_oldest_age_seconds",
            "Waiting time of the oldest waiting image; 0 for an empty queue.",
            ("worker",),
            registry=registry,
        )
        self.dropped = Counter(
            "mambaad_jobs_dropped_total",
            "Images that no worker computed, by reason: refused because they would be late (shed), "
            "or removed from the queue (cancelled or expired).",
            ("worker", "reason"),
            registry=registry,
        )

    def _declare_batches(self, registry: CollectorRegistry) -> None:
        self.batch_size = Histogram(
            "mambaad_batch_size",
            "Images per batch.",
            ("worker",),
            buckets=_BATCH,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "mambaad_batch_duration_seconds",
            "Time from when the device was free for a batch to its results.",
            ("worker",),
            buckets=SECONDS,
            registry=registry,
        )
        self.batches_released = Counter(
            "mambaad_batches_released_total",
            "Batches by the reason they started: full, idle (free device, no delay set), or delay "
            "(waited for the longest allowed time).",
            ("worker", "reason"),
            registry=registry,
        )
        self.batches_split = Counter(
            "mambaad_batches_split_total",
            "Batches split and computed again, by reason (failed or out-of-memory).",
            ("worker", "reason"),
            registry=registry,
        )
        self.compute_seconds = Counter(
            "mambaad_compute_seconds_total",
            "Time that the worker spent computing; its rate is the worker's utilization.",
            ("worker",),
            registry=registry,
        )

    def _declare_workers(self, registry: CollectorRegistry) -> None:
        self.worker_up = Gauge(
            "mambaad_worker_up",
            "1 while the worker is ready to inspect.",
            ("worker",),
            registry=registry,
        )
        self.worker_restarts = Counter(
            "mambaad_worker_restarts_total",
            "Restarts after the worker died or failed to start.",
            ("worker",),
            registry=registry,
        )
        self.spare_state = Gauge(
            "mambaad_spare_state",
            "1 for the state of the spare worker process: off, waiting, no-memory, preparing or "
            "ready to take over.",
            ("state",),
            registry=registry,
        )
        self.takeovers = Counter(
            "mambaad_worker_takeovers_total",
            "Times that the spare process took over from a worker's process that had died.",
            ("worker",),
            registry=registry,
        )
        self.recovery_seconds = Histogram(
            "mambaad_worker_recovery_seconds",
            "Time from the end of a worker's process until the next one was ready, and its first "
            "batch.",
            ("worker",),
            buckets=_RECOVERY_S,
            registry=registry,
        )
        self.device_memory = Gauge(
            "mambaad_device_memory_bytes",
            "Memory that the worker uses on its device; resident memory on a CPU.",
            ("worker",),
            registry=registry,
        )
