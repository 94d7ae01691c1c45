"""The configuration of Prometheus and Grafana names only existing metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.station.pages.metrics import StationMetrics
from service.telemetry.metrics import Metrics
from tests.service.telemetry.metric_docs import table

DOCKER = Path(__file__).parents[3] / "docker"
DASHBOARD = json.loads((DOCKER / "grafana/dashboards/mambaad.json").read_text("utf-8"))
RULES = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text("utf-8"))
PROMETHEUS = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULED = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULED if "alert" in rule]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [rule["expr"] for rule in RULED]
VARIABLES = [variable["definition"] for variable in DASHBOARD["templating"]["list"]]

OPERATIONS = (DOCKER.parent / "docs/operate.md").read_text("utf-8")
ALERT_TESTS = yaml.safe_load((Path(__file__).parent / "alerts.yml").read_text("utf-8"))

NAME = re.compile(r"\b(?:mambaad|process)_\w+")
LABELS = re.compile(r"\b((?:mambaad|process)_\w+)\{([^}]*)\}")
SUFFIXES = ("", "_total", "_bucket", "_sum", "_count")
ADDED_BY_PROMETHEUS = {"job", "instance", "node", "le"}


@pytest.fixture
def station_metrics() -> StationMetrics:
    return StationMetrics(CollectorRegistry())


@pytest.fixture
def names(metrics, station_metrics) -> set[str]:
    """The time series of the service and of a station."""
    return {*metrics.names(), *Metrics.names(station_metrics)}


@pytest.fixture
def labels(metrics, station_metrics) -> dict[str, set[str]]:
    """The labels of every time series."""
    return label_names(metrics) | label_names(station_metrics)


def named(queries: list[str]) -> set[str]:
    return {name for query in queries for name in NAME.findall(query)}


def label_names(metrics) -> dict[str, set[str]]:
    """Map every time series to its labels."""
    labels: dict[str, set[str]] = {name: set() for name in Metrics.names(metrics)}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                series = {family.name + suffix for suffix in SUFFIXES} & set(labels)
                labels |= {name: set(metric._labelnames) for name in series}
    return labels


def test_every_metric_that_is_watched_exists(names):
    watched = named(QUERIES + EXPRESSIONS + VARIABLES)
    assert watched
    assert watched - names == set()


def test_every_metric_of_ours_is_on_the_dashboard(names):
    shown = named(QUERIES)
    families = {
        name.removesuffix("_total")
        for name in names
        if name.startswith("mambaad_") and not name.endswith(("_bucket", "_sum", "_count"))
    }
    assert {f for f in families if not any(name.startswith(f) for name in shown)} == set()


def test_every_label_that_is_matched_exists(labels):
    matched = [pair for query in QUERIES + EXPRESSIONS for pair in LABELS.findall(query)]
    assert matched
    for name, matchers in matched:
        used = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
        assert used <= labels[name] | ADDED_BY_PROMETHEUS, (name, used)


def test_every_grouping_is_by_labels_that_exist(labels):
    label_set = set().union(*labels.values()) | ADDED_BY_PROMETHEUS
    for query in QUERIES + EXPRESSIONS:
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= label_set, query


@pytest.mark.parametrize("query", QUERIES + EXPRESSIONS)
def test_brackets_are_closed(query):
    stack = []
    for character in query:
        if character in "([{":
            stack.append(character)
        elif character in ")]}":
            assert stack.pop() + character in {"()", "[]", "{}"}
    assert not stack


def test_the_names_follow_prometheus_conventions(names):
    for name in names:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        if "duration" in name:
            assert "_seconds" in name


def test_the_runbook_tells_of_every_alert_and_how_bad_it_is():
    sections = re.findall(r"^### (Mambaad\w+)\n\n(\w+)\. ", OPERATIONS, re.MULTILINE)
    assert sections == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


def test_every_alert_is_tested():
    """A test expects it to fire at some moment."""
    fires = {
        sample.get("labels", expected["expr"])
        for test in ALERT_TESTS["tests"]
        for expected in test.get("promql_expr_test", [])
        for sample in expected["exp_samples"]
    }
    fires |= {
        f'"{expected["alertname"]}"'
        for test in ALERT_TESTS["tests"]
        for expected in test.get("alert_rule_test", [])
        if expected["exp_alerts"]
    }
    untested = {
        rule["alert"] for rule in ALERTS if not any(f'"{rule["alert"]}"' in line for line in fires)
    }
    assert untested == set()


def test_the_document_has_the_table_of_metrics(metrics):
    assert table(metrics) in OPERATIONS


@pytest.mark.parametrize("program", ["metrics", "station_metrics"])
def test_every_metric_is_set_by_its_program(program, request):
    metrics = request.getfixturevalue(program)
    sources = (DOCKER.parent / "service").rglob("*.py")
    in_station = program == "station_metrics"
    code = "".join(
        path.read_text("utf-8") for path in sources if ("station" in path.parts) == in_station
    )
    declared = {
        name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)
    }
    unset = {name for name in declared if not re.search(rf"metrics\.{name}\b", code)}
    assert unset == set()


def test_panels_are_laid_out_without_overlap_and_named_once():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_every_panel_asks_the_provisioned_source():
    sources = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
    )
    (source,) = sources["datasources"]
    assert source["type"] == "prometheus"
    for panel in PANELS:
        assert panel["datasource"]["uid"] == source["uid"]
        assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_it_means(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_prometheus_scrapes_the_service_of_the_compose_file_and_loads_the_alerts():
    compose = yaml.safe_load((DOCKER.parent / "docker-compose.yml").read_text("utf-8"))
    job, stations = PROMETHEUS["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert port in compose["services"][host]["ports"][0].split(":")
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    jobs = {job["job_name"], stations["job_name"]}
    matched = [
        name for query in EXPRESSIONS for name in re.findall(r'\bup\{job="([^"]*)"\}', query)
    ]
    assert set(matched) == jobs
    mounts = {mount.split(":")[0] for mount in compose["services"]["grafana"]["volumes"]}
    assert {"./docker/grafana/provisioning", "./docker/grafana/dashboards"} <= mounts
