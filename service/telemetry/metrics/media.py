"""Metrics of the archive's images and raw maps."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.telemetry.metrics.labels import from_zero


class MediaMetrics:
    """Files and bytes of images and raw maps."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.media_bytes = Gauge(
            "mambaad_archive_media_bytes",
            "Bytes of the archive's images and raw maps.",
            registry=registry,
        )
        self.media_free_bytes = Gauge(
            "mambaad_archive_free_bytes",
            "Free bytes on the disk of the archive's images and raw maps.",
            registry=registry,
        )
        self.media_free_floor = Gauge(
            "mambaad_archive_free_floor_bytes",
            "With fewer free bytes no image or raw map is kept.",
            registry=registry,
        )
        self.media_written = Counter(
            "mambaad_archive_media_written_total",
            "Files of images and raw maps written, by kind (image, map).",
            ("kind",),
            registry=registry,
        )
        self.media_not_written = Counter(
            "mambaad_archive_media_not_written_total",
            "Images and raw maps not kept, by reason (floor: too little free space; error: the "
            "disk refused).",
            ("reason",),
            registry=registry,
        )
        from_zero(self.media_written, ("image", "map"))
        from_zero(self.media_not_written, ("floor", "error"))
