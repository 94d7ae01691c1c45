"""The component `several`: pods that share one state, and their number by the age of queues."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.settings import Settings, variables
from service.telemetry.metrics import Metrics
from tests.docker.kubernetes.rendering import KUBERNETES, Object, pod_of, the, with_components
from tests.programs import program

ADAPTER = KUBERNETES / "components/several/prometheus-adapter.yaml"
SECRETS = {"url": "postgresql://mambaad@db.plant/mambaad", "password": "secret"}


@pytest.fixture
def objects(tmp_path: Path) -> list[Object]:
    return with_components(tmp_path, "several")


def expanded(container: Object) -> dict[str, str]:
    """Return the variables as a kubelet sets them: in order, each may use earlier ones."""
    values: dict[str, str] = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            assert source["secretKeyRef"]["name"] == "mambaad-database"
            value = SECRETS[source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            value = "mambaad-0"
        else:
            value = re.sub(
                r"\$\((\w+)\)", lambda match: values.get(match[1], match[0]), variable["value"]
            )
        values[variable["name"]] = value
    return values


def test_the_pods_share_state_and_archive(objects: list[Object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "0.0.0.0")
    pod = pod_of(objects)
    values = expanded(pod["containers"][0])
    assert {name for name in values if name.startswith("MAMBAAD_")} <= set(variables())
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.contradictions() == []
    assert settings.needs_keys
    assert settings.state.url == settings.archive.url == SECRETS["url"]
    (sink,) = json.loads(values["MAMBAAD_DELIVERY__SINKS"]).values()
    assert values[sink["password_variable"]] == SECRETS["password"]
    folder, _, key = values["MAMBAAD_CONSOLE__SIGNING_KEY_FILE"].rpartition("/")
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts[folder], key) == ("console", "signing-key")
    assert set(mounts.values()) - {"state", "kernels"} == {v["name"] for v in pod["volumes"]}


def test_the_autoscaler_alone_sets_the_number_of_pods(objects: list[Object]):
    assert "replicas" not in the(objects, "StatefulSet")["spec"]
    scaler = the(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "mambaad",
    }  # fmt: skip
    assert scaler["minReplicas"] >= 2


def test_its_metric_is_the_adapters_and_the_services(objects: list[Object]):
    (metric,) = the(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
    (rule,) = yaml.safe_load(ADAPTER.read_text("utf-8"))["rules"]["custom"]
    name = rule["name"]["as"]
    assert metric["pods"]["metric"]["name"] == name
    assert rule["seriesQuery"].partition("{")[0] == name
    registry = CollectorRegistry()
    Metrics(registry)
    assert name in {family.name for family in registry.collect()}


def test_the_adapters_query_gives_each_pod_its_longest_wait(tmp_path: Path):
    """As the adapter fills the template in; a real Prometheus computes it."""
    (rule,) = yaml.safe_load(ADAPTER.read_text("utf-8"))["rules"]["custom"]
    name = rule["name"]["as"]
    query = rule["metricsQuery"]
    for part, text in (
        ("<<.Series>>", name),
        ("<<.LabelMatchers>>", 'namespace="mambaad",pod=~"mambaad-0|mambaad-1"'),
        ("<<.GroupBy>>", "pod"),
    ):
        query = query.replace(part, text)
    series = {
        f'{name}{{namespace="mambaad",pod="mambaad-0",worker="cpu-0"}}': "0 0.9 0 0 0 0.1",
        f'{name}{{namespace="mambaad",pod="mambaad-0",worker="cpu-1"}}': "0 0 0 0 0.4 0",
        f'{name}{{namespace="mambaad",pod="mambaad-1",worker="cpu"}}': "0 0 0 0 0 0",
        f'{name}{{namespace="other",pod="mambaad-0",worker="cpu"}}': "5 5 5 5 5 5",
    }
    test = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "80s",
                        "exp_samples": [
                            {"labels": '{pod="mambaad-0"}', "value": 0.4},
                            {"labels": '{pod="mambaad-1"}', "value": 0},
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test), "utf-8")
    done = subprocess.run(
        [program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
