"""How batches are computed: queues, batches, workers and their devices."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.metrics.labels import SECONDS, from_zero

_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class WorkerMetrics:
    """Queues and workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_queues(registry)
        self._declare_batches(registry)
        self._declare_workers(registry)

    def expect_worker(self, worker: str) -> None:
        """Count what a worker does from 0 on."""
        from_zero(self.dropped, [worker], ("shed", "cancelled", "expired"))
        from_zero(self.batches_released, [worker], ("full", "idle", "delay"))
        from_zero(self.batches_split, [worker], ("failed", "out-of-memory"))
        for metric in (self.batch_size, self.batch_seconds, self.compute_seconds):
            from_zero(metric, [worker])
        from_zero(self.worker_restarts, [worker])

    def _declare_queues(self, registry: CollectorRegistry) -> None:
        self.queue_depth = Gauge(
            "mambaad_queue_depth",
            "Images waiting for a worker.",
            ("worker",),
            registry=registry,
        )
        self.queue_capacity = Gauge(
            "mambaad_queue_capacity",
            "Images of one checkpoint that may wait for a worker.",
            ("worker",),
            registry=registry,
        )
        self.queue_fullness = Gauge(
            "mambaad_queue_fullness_ratio",
            "Images of the checkpoint that most wait for, by how many may.",
            ("worker",),
            registry=registry,
        )
        self.queue_bytes = Gauge(
            "mambaad_queue_memory_bytes",
            "Memory of the images that wait for a worker.",
            ("worker",),
            registry=registry,
        )
        self.queue_oldest = Gauge(
            "mambaad_queue_oldest_age_seconds",
            "How long the longest-waiting image has waited; 0 where none does.",
            ("worker",),
            registry=registry,
        )
        self.dropped = Counter(
            "mambaad_jobs_dropped_total",
            "Images that no worker computed: refused since they would be late (shed), or dropped "
            "from the queue (cancelled or expired).",
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
            "Time that a batch took, from when the device was free for it to its results.",
            ("worker",),
            buckets=SECONDS,
            registry=registry,
        )
        self.batches_released = Counter(
            "mambaad_batches_released_total",
            "Batches by why they went when they did: full, idle (the device was free, and no "
            "delay is set), or delay (they had waited to fill for as long as they may).",
            ("worker", "reason"),
            registry=registry,
        )
        self.batches_split = Counter(
            "mambaad_batches_split_total",
            "Batches computed again in parts, by reason (failed or out-of-memory).",
            ("worker", "reason"),
            registry=registry,
        )
        self.compute_seconds = Counter(
            "mambaad_compute_seconds_total",
            "Time that the worker spent computing; its rate is the share of time it is busy.",
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
            "Times that the worker died, or failed to start, and was started again.",
            ("worker",),
            registry=registry,
        )
        self.device_memory = Gauge(
            "mambaad_device_memory_bytes",
            "Memory that the worker holds on its device; resident memory for the CPU.",
            ("worker",),
            registry=registry,
        )
