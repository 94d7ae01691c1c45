"""Every Prometheus metric of a station, declared once.

Names follow the service's: a counter ends in `_total`, a name includes its unit. Label values are
constants of the code, or cameras of the settings. `MetricsWatcher` counts results as they come; all
others are read when Prometheus asks.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.verdicts import Reason
from service.station.reports import STAGES, PartReport, Vitals
from service.station.settings import StationSettings
from service.telemetry.metrics.labels import from_zero

_BUCKETS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


class StationMetrics:
    """The metrics, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self._declare_counts(registry)
        self._declare_state(registry)
        self._declare_surroundings(registry)

    def _declare_counts(self, registry: CollectorRegistry) -> None:
        self.triggers = Counter(
            "mambaad_station_triggers_total",
            "Parts that the station began, by a Trigger or a command.",
            registry=registry,
        )
        self.missed_triggers = Counter(
            "mambaad_station_missed_triggers_total",
            "Triggers that came while Ready was off; no part was taken.",
            registry=registry,
        )
        self.overruns = Counter(
            "mambaad_station_overruns_total",
            "Results that the PLC did not acknowledge in time.",
            registry=registry,
        )
        self.results = Counter(
            "mambaad_station_results_total",
            "Results that the line was told, by verdict and reason (none: the network decided).",
            ("verdict", "reason"),
            registry=registry,
        )
        self.takt = Histogram(
            "mambaad_station_takt_seconds",
            "Time from Trigger to each stage: durable (TriggerAck), exposed (ExposureDone), "
            "decided, told (ResultsValid).",
            ("stage",),
            buckets=_BUCKETS,
            registry=registry,
        )

    def _declare_state(self, registry: CollectorRegistry) -> None:
        self.info = Gauge(
            "mambaad_station_info",
            "1, with the station's name as a label.",
            ("station",),
            registry=registry,
        )
        self.state = Gauge(
            "mambaad_station_state",
            "State after OPC 40100-1, as in the register State (3: Error, 5: Ready).",
            registry=registry,
        )
        self.recipe = Gauge(
            "mambaad_station_recipe", "Number of the prepared recipe; 0: none.", registry=registry
        )
        self.errors = Gauge(
            "mambaad_station_error_latched",
            "1 while an error is not acknowledged, by its name.",
            ("code",),
            registry=registry,
        )

    def _declare_surroundings(self, registry: CollectorRegistry) -> None:
        self.plc_up = Gauge(
            "mambaad_station_plc_up",
            "1 while a PLC is connected, and its heartbeat changes if it is watched; always 1 over "
            "HTTP, where no connection lasts.",
            registry=registry,
        )
        self.plc_clients = Gauge(
            "mambaad_station_plc_clients", "Connections to the door of the PLC.", registry=registry
        )
        self.camera_up = Gauge(
            "mambaad_station_camera_up",
            "1 if the camera gave its latest image in time, 0 if it was silent.",
            ("camera",),
            registry=registry,
        )
        self.service_up = Gauge(
            "mambaad_station_service_up",
            "1 while the inspection service answers that it is ready.",
            registry=registry,
        )
        self.spool_parts = Gauge(
            "mambaad_station_spool_parts",
            "Parts that wait for the service's archive or for the PLC.",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "mambaad_station_spool_bytes", "Bytes of their images.", registry=registry
        )
        self.spool_fullness = Gauge(
            "mambaad_station_spool_fullness_ratio",
            "Parts or bytes in the spool as a fraction of their limit, whichever is larger.",
            registry=registry,
        )


class MetricsWatcher:
    """A watcher that counts; `text` returns everything for Prometheus."""

    def __init__(self, metrics: StationMetrics, settings: StationSettings) -> None:
        self._metrics = metrics
        self._spool = settings.spool
        self._counted: dict[Counter, int] = {}
        metrics.info.labels(settings.name).set(1)
        from_zero(metrics.results, ["OK", "NG", "REVIEW"], ["none"])
        reasons = [reason for reason in Reason if reason is not Reason.NONE]
        from_zero(metrics.results, ["UNDECIDED", "INPUT_PROBLEM"], map(_reason_word, reasons))
        self._takt = {stage: metrics.takt.labels(stage) for stage in STAGES}

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Do nothing: the state is read when Prometheus asks."""

    def alarm(self, code: ErrorCode) -> None:
        """Do nothing: the vitals have the errors."""

    def part_told(self, report: PartReport) -> None:
        """Count a result and its times."""
        outcome = report.part.told
        assert outcome is not None
        self._metrics.results.labels(outcome.verdict.name, _reason_word(outcome.reason)).inc()
        for stage, time_ms in report.times.by_stage().items():
            if time_ms is not None:
                self._takt[stage].observe(time_ms / 1_000)

    def text(
        self,
        image: StationImage,
        vitals: Vitals,
        *,
        is_plc_up: bool,
        cameras_up: Mapping[str, bool],
        is_service_up: bool,
    ) -> bytes:
        """Return all metrics as Prometheus reads them."""
        metrics = self._metrics
        self._count_to(metrics.triggers, vitals.triggers)
        self._count_to(metrics.missed_triggers, vitals.missed_triggers)
        self._count_to(metrics.overruns, vitals.overruns)
        metrics.state.set(image.state)
        metrics.recipe.set(image.recipe)
        self._set_errors(vitals.errors)
        metrics.plc_up.set(is_plc_up)
        metrics.plc_clients.set(vitals.plc_clients)
        metrics.service_up.set(is_service_up)
        for camera, is_up in cameras_up.items():
            metrics.camera_up.labels(camera).set(is_up)
        metrics.spool_parts.set(vitals.spool_parts)
        metrics.spool_bytes.set(vitals.spool_bytes)
        metrics.spool_fullness.set(
            max(
                vitals.spool_parts / self._spool.max_parts,
                vitals.spool_bytes / self._spool.max_bytes,
            )
        )
        return generate_latest(metrics.registry)

    def _count_to(self, counter: Counter, value: int) -> None:
        """Raise a counter to the machine's count."""
        counter.inc(value - self._counted.get(counter, 0))
        self._counted[counter] = value

    def _set_errors(self, latched: Iterable[ErrorCode]) -> None:
        for code in ErrorCode:
            if code is not ErrorCode.NONE:
                self._metrics.errors.labels(code.name).set(code in tuple(latched))


def _reason_word(reason: Reason) -> str:
    return reason.name.lower().replace("_", "-")
