"""Metrics of the archive: inspections recorded, and the journal's commits."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.metrics.labels import from_zero

_ORIGINS = ("line", "test", "late")
_OUTCOMES = ("recorded", "repeated", "failed")
_SECONDS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ArchiveMetrics:
    """Inspections recorded, and the journal's commits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_recording(registry)
        self._declare_commits(registry)

    def _declare_recording(self, registry: CollectorRegistry) -> None:
        self.inspections_recorded = Counter(
            "mambaad_inspections_recorded_total",
            "Inspections handed to the journal, by origin and outcome (recorded, repeated: its id "
            "was there before, or failed).",
            ("origin", "outcome"),
            registry=registry,
        )
        from_zero(self.inspections_recorded, _ORIGINS, _OUTCOMES)
        self.refusals_dropped = Counter(
            "mambaad_refusals_dropped_total",
            "Refused parts that were not recorded, because the disk refused or too many waited.",
            registry=registry,
        )
        self.journal_pending = Gauge(
            "mambaad_journal_pending_writes",
            "Writes that wait for the journal's thread.",
            registry=registry,
        )

    def _declare_commits(self, registry: CollectorRegistry) -> None:
        self.journal_failed = Gauge(
            "mambaad_journal_failed",
            "1 while the journal cannot be written; its log says why.",
            registry=registry,
        )
        self.journal_bytes = Gauge(
            "mambaad_journal_size_bytes",
            "Size of the journal's files, images not included.",
            registry=registry,
        )
        self.journal_commit_seconds = Histogram(
            "mambaad_journal_commit_duration_seconds",
            "Time to write a group of inspections and other changes to disk.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.journal_group_size = Histogram(
            "mambaad_journal_commit_writes",
            "Inspections and other changes that shared a commit.",
            buckets=_WRITES,
            registry=registry,
        )
