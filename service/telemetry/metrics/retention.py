"""Metrics of the archive's retention."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.telemetry.metrics.labels import from_zero


class RetentionMetrics:
    """Deleted inspections and files, and the rounds that deleted them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deleted = Counter(
            "mambaad_archive_deleted_total",
            "Deleted inspections and files, by reason (age; bytes: over the bound; purge: by a "
            "person; unkept: a file without a row).",
            ("kind", "reason"),
            registry=registry,
        )
        self.retention_rounds = Counter(
            "mambaad_archive_retention_rounds_total",
            "Rounds of the retention, by outcome (done; blocked: over a bound by what is held or "
            "not delivered; failed).",
            ("outcome",),
            registry=registry,
        )
        self.oldest_inspection = Gauge(
            "mambaad_archive_oldest_inspection_age_seconds",
            "Age of the oldest inspection in the journal.",
            registry=registry,
        )
        from_zero(self.deleted, ("inspection", "file"), ("age", "bytes", "purge"))
        from_zero(self.deleted, ("file",), ("unkept",))
        from_zero(self.retention_rounds, ("done", "blocked", "failed"))
