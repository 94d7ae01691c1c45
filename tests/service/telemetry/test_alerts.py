"""Every alert fires in time for the first burst after a start, with a fresh service's series.

`rate` and `increase` see a counter rise only from an earlier scraped value. So these tests invent
no series: they take those that a service exports before its first part, add a burst, and ask
promtool when the alert fires. A burst on a missing series is an error.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.station.pages.metrics import MetricsWatcher, StationMetrics
from tests.service.station.pages.shown import READY, VITALS, settings_of
from tests.service.telemetry.test_prometheus import RULES, promtool

GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
EXPRESSIONS = {
    rule.get("alert") or rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"]
}
ALERTS = {rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule}
OF_A_SINK = {
    "mambaad_delivery_breaker_open",
    "mambaad_delivery_oldest_age_seconds",
    "mambaad_delivery_failures_total",
}
"""Series that begin at 0 with each sink's start; the service of these tests has no sinks."""

LATER = {
    "mambaad_drift_alarm",
    "mambaad_station_camera_up",
    "mambaad_cluster_replicas_missing",
    *OF_A_SINK,
}
"""Series that begin later than their program: gauges of parts, and those of a sink."""

STAGE_COUNT = 'mambaad_stage_duration_seconds_count{category="bolt", stage="total"}'
STAGE_1S = 'mambaad_stage_duration_seconds_bucket{category="bolt", le="1.0", stage="total"}'
OK, NG, UNDECIDED = (
    f'mambaad_decisions_total{{category="bolt", decision="{decision}"}}'
    for decision in ("OK", "NG", "UNDECIDED")
)


def loads(model: str, outcome: str) -> str:
    labels = f'model="{model}", outcome="{outcome}", version="1", worker="cpu"'
    return f"mambaad_model_loads_total{{{labels}}}"


def requests(code: int) -> str:
    return f'mambaad_requests_total{{code="{code}", route="/detect"}}'


@dataclass(frozen=True)
class Burst:
    """Values from minute `at` after the start, and the minute by which the alert must fire."""

    alert: str
    at: int
    fires_by: int
    values: dict[str, str]


BURSTS = [
    Burst("MambaadAbsent", 30, 33, {"up": "1x30 0x30"}),
    Burst("MambaadNotReady", 30, 37, {"mambaad_ready": "1x30 0x30"}),
    Burst("MambaadKeysFileUnread", 30, 33, {"mambaad_keys_file_unread_seconds": "0x30 120x30"}),
    Burst("MambaadStateAway", 30, 34, {"mambaad_state_contact_age_seconds": "0x30 130x30"}),
    Burst("MambaadStateHeld", 30, 34, {"mambaad_state_held": "0x30 1x30"}),
    Burst(
        "MambaadCertificateExpires",
        30,
        33,
        {"mambaad_tls_certificate_expiry_timestamp_seconds": "2600000x30 1200000x30"},
    ),
    Burst("MambaadWorkerDown", 30, 34, {'mambaad_worker_up{worker="cpu"}': "1x30 0x30"}),
    Burst("MambaadClusterAway", 30, 34, {"mambaad_cluster_away": "0x30 1x30"}),
    Burst("MambaadClusterNodeGone", 30, 34, {"mambaad_cluster_nodes": "0x5 3x25 2x30"}),
    Burst(
        "MambaadClusterShort", 30, 37, {'mambaad_cluster_workers{state="starting"}': "0x30 1x30"}
    ),
    Burst(
        "MambaadClusterActorRestarts",
        30,
        33,
        {"mambaad_cluster_actor_restarts_total": "0x30 5x30"},
    ),
    Burst(
        "MambaadClusterColdImages",
        30,
        45,
        {
            "mambaad_cluster_hop_seconds_count": "0+60x60",
            "mambaad_cluster_images_cold_total": "0x30 0+20x30",
        },
    ),
    Burst(
        "MambaadReplicasMissing",
        30,
        42,
        {'mambaad_cluster_replicas_missing{model="parts", version="1"}': "_x30 1x30"},
    ),
    Burst(
        "MambaadWorkerRestarts",
        30,
        33,
        {'mambaad_worker_restarts_total{worker="cpu"}': "0x30 5x30"},
    ),
    Burst(
        "MambaadQueueOld",
        30,
        33,
        {'mambaad_queue_oldest_age_seconds{worker="cpu"}': "0x30 4x30"},
    ),
    Burst(
        "MambaadQueueFilling",
        30,
        33,
        {'mambaad_queue_fullness_ratio{worker="cpu"}': "0x30 1x30"},
    ),
    Burst("MambaadUndecided", 30, 38, {OK: "0+60x60", UNDECIDED: "0x30 0+40x30"}),
    Burst(
        "MambaadServerErrors", 30, 38, {requests(200): "0+60x60", requests(503): "0x30 9x3 18x30"}
    ),
    Burst(
        "MambaadShedding",
        30,
        34,
        {OK: "0+60x60", 'mambaad_image_errors_total{problem="queue-full"}': "0x30 40x30"},
    ),
    Burst(
        "MambaadRateLimited",
        30,
        32,
        {'mambaad_rate_limited_total{key="anonymous"}': "0x30 80x30"},
    ),
    Burst(
        "MambaadUnauthorized",
        30,
        32,
        {'mambaad_unauthorized_total{reason="unknown"}': "0x30 30x30"},
    ),
    Burst(
        "MambaadNotANumber",
        30,
        32,
        {'mambaad_image_errors_total{problem="non-finite-result"}': "0x30 1x30"},
    ),
    Burst("MambaadJournalFailed", 30, 33, {"mambaad_journal_failed": "0x30 1x30"}),
    Burst(
        "MambaadMediaNotKept",
        30,
        33,
        {'mambaad_archive_media_not_written_total{reason="floor"}': "0x30 5x30"},
    ),
    Burst(
        "MambaadRetention",
        30,
        37,
        {'mambaad_archive_retention_rounds_total{outcome="blocked"}': "0x30 1+1x30"},
    ),
    Burst("MambaadCheckpointRefused", 30, 33, {"mambaad_checkpoints_refused": "0x30 1x30"}),
    Burst("MambaadLoadFailed", 30, 32, {loads("parts", "failed"): "0x30 1x30"}),
    Burst(
        "MambaadThresholdChanged",
        30,
        32,
        {'mambaad_deployment_changes_total{action="threshold", category="bolt"}': "0x30 1x30"},
    ),
    Burst(
        "MambaadDrift",
        30,
        42,
        {
            'mambaad_drift_alarm{category="bolt", model="parts", reason="shape", version="1"}': (
                "_x30 1x30"
            )
        },
    ),
    Burst("MambaadSinkHeld", 30, 37, {'mambaad_delivery_breaker_open{sink="mes"}': "0x30 1x30"}),
    Burst(
        "MambaadDeliveryOld",
        30,
        37,
        {'mambaad_delivery_oldest_age_seconds{sink="mes"}': "0x30 1000x30"},
    ),
    Burst(
        "MambaadDeadLetters",
        30,
        33,
        {'mambaad_delivery_failures_total{reason="refused", sink="mes"}': "0x30 1x30"},
    ),
    Burst("MambaadStationDown", 30, 33, {'up{job="mambaad-station"}': "1x30 0x30"}),
    Burst("MambaadStationPlcAway", 30, 34, {"mambaad_station_plc_up": "1x30 0x30"}),
    Burst(
        "MambaadStationCameraSilent",
        30,
        33,
        {'mambaad_station_camera_up{camera="top"}': "_x5 1x25 0x30"},
    ),
    Burst(
        "MambaadStationMissedTriggers",
        30,
        32,
        {"mambaad_station_missed_triggers_total": "0x30 1x30"},
    ),
    Burst("MambaadStationOverruns", 30, 32, {"mambaad_station_overruns_total": "0x30 1x30"}),
    Burst("MambaadStationSpoolGrowing", 30, 37, {"mambaad_station_spool_parts": "0x30 5+30x30"}),
    Burst(
        "MambaadStationUndecided",
        30,
        38,
        {
            'mambaad_station_results_total{reason="none", verdict="OK"}': "0+60x60",
            'mambaad_station_results_total{reason="deadline", verdict="UNDECIDED"}': "0x30 0+5x30",
        },
    ),
    Burst("MambaadLatencyBurn", 30, 60, {STAGE_1S: "0+60x30 1800x30", STAGE_COUNT: "0+60x60"}),
    Burst("MambaadLatencyBurnSlow", 30, 60, {STAGE_1S: "0+60x30 1800x30", STAGE_COUNT: "0+60x60"}),
    # A day without a reject, then two parts in five: the alert must not take an hour.
    Burst(
        "MambaadRejectsShifted", 1500, 1530, {OK: "0+100x1500 150000+60x60", NG: "0x1500 0+40x60"}
    ),
]


@pytest.fixture(scope="module")
def exported(server):
    """The series of a service and of a station before the first part, with their values."""
    values = {}
    fresh = server.fresh_metrics + fresh_station()
    for family in text_string_to_metric_families(fresh):
        for sample in family.samples:
            values[written(sample.name, sample.labels)] = sample.value
    return values


def fresh_station():
    """Return the metrics of a station that has begun and seen no trigger."""
    metrics = MetricsWatcher(StationMetrics(CollectorRegistry()), settings_of())
    vitals = replace(VITALS, triggers=0, missed_triggers=0, spool_parts=0, spool_bytes=0)
    text = metrics.text(READY, vitals, is_plc_up=True, cameras_up={}, is_service_up=True)
    ours = (line for line in text.decode().splitlines() if "process_" not in line)
    return "\n".join(ours) + "\n"


def written(name, labels):
    """Write a series for promtool; the same series always gives the same text."""
    inside = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


def read_by(rule, seen=frozenset()):
    """Return the metrics that an alert's expression reads, directly or through rules."""
    expression = EXPRESSIONS[rule]
    names = set(re.findall(r"\bmambaad_\w+", expression))
    for recorded in set(re.findall(r"\bmambaad:[\w:]+", expression)) - seen:
        names |= read_by(recorded, seen | {recorded})
    return names


def input_series(burst, exported):
    """Return the scraped series: all that the alert reads, from the start, and the burst."""
    made_up = {name for name in burst.values if name.partition("{")[0] not in {"up", *LATER}}
    assert made_up <= set(exported), "the burst is on series that a fresh service does not export"
    reads = read_by(burst.alert)
    there = {name: value for name, value in exported.items() if name.partition("{")[0] in reads}
    assert there or reads <= LATER, f"a fresh service exports none of {reads}"
    length = burst.fires_by + 10
    series = {'up{job="mambaad"}': f"1x{length}"}
    series |= {name: f"{value:g}x{length}" for name, value in there.items()}
    burst_series = {
        'up{job="mambaad"}' if name == "up" else name: v for name, v in burst.values.items()
    }
    return [{"series": name, "values": values} for name, values in (series | burst_series).items()]


@pytest.mark.parametrize("burst", BURSTS, ids=lambda burst: burst.alert)
def test_an_alert_fires_for_the_first_burst(burst, exported, tmp_path: Path):
    firing = f'count(ALERTS{{alertname="{burst.alert}", alertstate="firing"}})'
    test = {
        "interval": "1m",
        "input_series": input_series(burst, exported),
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{burst.at}m", "exp_samples": []},
            {
                "expr": f"{firing} >= bool 1",
                "eval_time": f"{burst.fires_by}m",
                "exp_samples": [{"value": 1}],
            },
        ],
    }
    file = tmp_path / "burst.yml"
    rules = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(rules), "utf-8")
    promtool("test", "rules", file)


def test_every_alert_has_its_burst():
    assert {burst.alert for burst in BURSTS} == ALERTS


def test_a_first_burst_of_undecided_parts_is_a_rate_at_once(exported, tmp_path):
    """200 parts between two scrapes, after half an hour of 60 a minute."""
    share = (
        'sum(rate(mambaad_decisions_total{decision="UNDECIDED"}[5m]))'
        " / sum(rate(mambaad_decisions_total[5m]))"
    )
    burst = Burst("MambaadUndecided", 30, 40, {OK: "0+60x60", UNDECIDED: "0x30 200x30"})
    test = {
        "interval": "1m",
        "input_series": input_series(burst, exported),
        "promql_expr_test": [{"expr": share, "eval_time": "33m", "exp_samples": [{"value": 0.4}]}],
    }
    file = tmp_path / "undecided.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]})
    )
    promtool("test", "rules", file)


def test_a_fresh_service_counts_every_decision_of_every_category_from_0(exported):
    for category in ("bolt", "nut", "ghost"):
        for decision in ("OK", "NG", "REVIEW", "UNDECIDED"):
            name = written("mambaad_decisions_total", {"category": category, "decision": decision})
            assert exported[name] == 0


def test_nothing_is_counted_yet_but_probes_and_loads(exported):
    started = ("mambaad_model_loads_total", "mambaad_compute_seconds_total", "mambaad_requests")
    counted = {
        name
        for name, value in exported.items()
        if value and re.match(r"mambaad_\w+_(total|count)\b", name) and not name.startswith(started)
    }
    probes = {name for name in counted if re.search(r'route="/(livez|readyz|metrics)"', name)}
    assert counted == probes
