"""A real Prometheus scrapes a real service, loads the shipped rules, and serves the dashboard."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from service.archive.sqlite_journal import SqliteJournal
from service.delivery.deliveries import deliveries_of
from service.settings import DeliverySettings, Settings
from tests.programs import program
from tests.service.station.pages.shown import shown

ROOT = Path(__file__).parents[3]
RULES = ROOT / "docker/prometheus/alerts.yml"
CONFIG = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "docker/grafana/dashboards/mambaad.json").read_text("utf-8"))
QUERIES = {
    target["expr"]: panel["title"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
}
# Panels that need a shadow, a cluster, or more parts than this service had.
QUIET = {
    "Alarms",
    "Certificate expires in",
    "Difference of a shadow's score",
    "Parts in the drift window",
    "Replicas that are missing",
    "Shadows",
    "Fraction over the threshold",
    "Stability index",
}


def promtool(*arguments: str | Path) -> None:
    answer = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_promtool_takes_the_configuration_and_the_rules():
    for name in ("prometheus.yml", "prometheus-tls.yml"):
        promtool("check", "config", ROOT / "docker/prometheus" / name)
    promtool("check", "rules", "--lint-fatal", RULES)


def test_promtool_takes_what_the_service_writes(client, tmp_path):
    answer = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=client.get("/metrics").text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_promtool_takes_what_a_station_writes():
    with shown() as station:
        station.tell(1)
        text = httpx.get(f"{station.pages.url}metrics", timeout=20).text
    answer = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_alerts_fire_when_they_should_and_not_before():
    promtool("test", "rules", ROOT / "tests/service/telemetry/alerts.yml")


class Prometheus:
    """The queries to a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def get(self, path: str, **parameters: str) -> dict:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list:
        return self.get("query", query=expression)["result"]

    def answers(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def sink(server, tmp_path_factory):
    """A sink whose series are among those of the service."""
    folder = tmp_path_factory.mktemp("delivery")
    sinks = {"files": {"type": "folder", "path": folder / "results"}}
    settings = Settings(delivery=DeliverySettings(sinks=sinks))
    journal = SqliteJournal.open(folder / "archive", "line-1")
    deliveries = deliveries_of(settings, journal, server.app.state.metrics)
    deliveries.start()
    yield
    deliveries.stop()
    journal.close()


@pytest.fixture(scope="module")
def station():
    """A station's page, with the series of a part."""
    with shown() as station:
        station.tell(1, images={"top": b"x"})
        yield station


@pytest.fixture(scope="module")
def prometheus(server, sink, station, eventually, tmp_path_factory, image):
    """Prometheus with the shipped configuration, except the target and the interval."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(RULES, folder)
    pace = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    job, stations = CONFIG["scrape_configs"]
    target = [{"targets": [server.url.removeprefix("http://")]}]
    jobs = [job | {"static_configs": target}, stations | {"scrape_interval": "1s"}]
    config = CONFIG | {"global": pace, "scrape_configs": jobs}
    (folder / "stations").mkdir()
    one = [{"targets": [station.pages.url.removeprefix("http://").rstrip("/")]}]
    (folder / "stations" / "el-3.yml").write_text(yaml.safe_dump(one), "utf-8")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        watching = Prometheus(f"http://127.0.0.1:{port}")
        try:
            eventually(watching.answers, "Prometheus' readiness")
            inspect_parts(server, image)
            eventually(lambda: watching.query('up{job="mambaad"} == 1'), "the first scrape")
            inspect_parts(server, image)
            twice = "count_over_time(mambaad_decisions_total[1m]) > 2"
            eventually(lambda: watching.query(twice), "a second scrape")
            station.tell(2, images={"top": b"x"})
            twice = "count_over_time(mambaad_station_triggers_total[1m]) > 2"
            eventually(lambda: watching.query(twice), "a second scrape of the station")
            yield watching
        finally:
            watching.close()
            process.terminate()


def inspect_parts(server, image) -> None:
    """Send one part of each kind: OK, NG, damaged, refused."""
    with server.client() as client:
        for category in ("bolt", "nut", "ghost", "nonesuch"):
            client.post(f"/detect?category={category}&heatmap=map", content=image())
        client.post("/detect?category=bolt", content=b"no image")


def test_it_scrapes_the_service(prometheus):
    targets = prometheus.get("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * 2
    assert {target["scrapePool"] for target in targets} == {"mambaad", "mambaad-station"}
    decided = 'sum by (decision) (mambaad_decisions_total{category=~"bolt|nut|ghost"})'
    counted = {
        sample["metric"]["decision"]: float(sample["value"][1])
        for sample in prometheus.query(decided)
    }
    assert counted.pop("REVIEW") == 0
    assert set(counted) == {"OK", "NG", "UNDECIDED"}
    assert min(counted.values()) >= 2


def test_it_evaluates_every_rule(prometheus, eventually):
    def evaluated() -> list:
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = eventually(evaluated, "the first evaluation")
    shipped = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    assert len(rules) == len(shipped)
    assert {
        rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"
    } == {}


@pytest.mark.parametrize("expression", QUERIES, ids=lambda query: f"{QUERIES[query]}: {query[:40]}")
def test_it_answers_every_query_of_the_dashboard(prometheus, expression):
    promql = expression.replace("$__rate_interval", "1m").replace("$category", ".*")
    answer = prometheus.query(promql)
    if QUERIES[expression] not in QUIET:
        assert answer, promql


def test_every_label_in_a_legend_is_in_the_answer(prometheus):
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$category", ".*")
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for series in prometheus.query(query):
                assert wanted <= set(series["metric"]), (panel["title"], series["metric"])
