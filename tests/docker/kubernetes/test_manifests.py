"""The kustomize files: a cluster would take them, and the service starts and stops as they say.

No cluster runs here. What needs one is listed in docs/scale.md.
"""

import re
from pathlib import Path

import pytest
import yaml

from docker.kubernetes.rules import ALERTS, RULE, rule_of
from service.api import health
from service.api.v2 import health as v2_health
from service.http.declaration import Access, declared_by
from service.settings import Settings, variables
from tests.docker.kubernetes.rendering import (
    KUBERNETES,
    ROOT,
    environment_of,
    pod_of,
    rendered,
    the,
    with_components,
)
from tests.docker.kubernetes.schemas import faults

DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
OVERLAYS = ("overlays/cpu", "overlays/cuda", "overlays/edge")
SERVICES = (*OVERLAYS, "kserve")
FOLDERS = (*SERVICES, "loader", "overlays/cluster")
COMPONENTS = sorted(file.parent.name for file in KUBERNETES.glob("components/*/kustomization.yaml"))
LABELS = {"app.kubernetes.io/name": "mambaad"}
RUNTIME_S = 5.0
"""What a process takes to end after its work is done, with room for a busy machine."""


@pytest.fixture
def container(name: str) -> dict:
    """The container that runs the service; a test of SERVICES gives the name."""
    if name == "kserve":
        return the(rendered(name), "ServingRuntime")["spec"]["containers"][0]
    return pod_of(rendered(name))["containers"][0]


def settings_of(container: dict, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "0.0.0.0")
    for name, value in environment_of(container).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_every_folder_is_looked_at():
    folders = {
        path.parent.relative_to(KUBERNETES) for path in KUBERNETES.rglob("kustomization.yaml")
    }
    assert folders == {
        Path(name) for name in (*FOLDERS, "base", *(f"components/{c}" for c in COMPONENTS))
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_the_objects_keep_to_the_schemas(name: str):
    assert {o["kind"]: faults(o) for o in rendered(name) if faults(o)} == {}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_added_to_an_overlay_keeps_to_the_schemas(component: str, tmp_path: Path):
    objects = with_components(tmp_path, component)
    assert objects != list(rendered("overlays/cpu"))
    assert {o["kind"]: faults(o) for o in objects if faults(o)} == {}


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("StatefulSet", "spec.replicaz", 1),
        ("StatefulSet", "spec.template.spec.terminationGracePeriod", 210),
        ("Service", "spec.ports", {"port": 8000}),
        ("NetworkPolicy", "spec.ingres", []),
        ("PodDisruptionBudget", "spec.maxUnavailable", [1]),
        ("ServiceMonitor", "spec.endpoint", []),
        ("PrometheusRule", "spec.groups", [{"name": "a", "rule": []}]),
        ("ServingRuntime", "spec.protocolVersion", "v2"),
        ("ServingRuntime", "spec.containers", [{"image": "x"}]),
        ("InferenceService", "spec.predictor.model.storageURI", "pvc://mambaad-weights"),
        ("InferenceService", "spec.predictor.minReplica", 1),
        ("RayCluster", "spec.workerGroups", []),
        ("RayCluster", "spec.headGroupSpec.rayStartParams", {"num-cpus": 0}),
        ("RayCluster", "spec.headGroupSpec.template.spec.volume", []),
    ],
)
def test_a_mistake_is_noticed(kind: str, place: str, value: object, tmp_path: Path):
    ray = the(rendered("overlays/cluster"), "RayCluster")
    objects = [*with_components(tmp_path, "monitoring"), *rendered("kserve"), ray]
    wrong = yaml.safe_load(yaml.safe_dump(the(objects, kind)))
    *above, last = place.split(".")
    target = wrong
    for key in above:
        target = target[key]
    target[last] = value
    assert faults(wrong)


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_parts_find_the_pods(name: str):
    objects = rendered(name)
    stateful = the(objects, "StatefulSet")
    assert stateful["spec"]["template"]["metadata"]["labels"] == LABELS
    assert stateful["spec"]["selector"] == {"matchLabels": LABELS}
    assert the(objects, "PodDisruptionBudget")["spec"]["selector"] == {"matchLabels": LABELS}
    assert the(objects, "NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": LABELS}
    headless = the(objects, "Service", stateful["spec"]["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"
    for service in (headless, the(objects, "Service")):
        assert service["spec"]["selector"] == LABELS
        (port,) = service["spec"]["ports"]
        (named,) = pod_of(objects)["containers"][0]["ports"]
        assert port["targetPort"] == named["name"]
    assert {o["metadata"].get("namespace", "mambaad") for o in objects} == {"mambaad"}


def test_clients_of_the_network_policy_are_other_pods():
    """kustomize must not add the service's own label to them."""
    (rule,) = the(rendered("overlays/cpu"), "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"][0] == {"podSelector": {"matchLabels": {"mambaad.example/client": "true"}}}


@pytest.mark.parametrize("name", SERVICES)
def test_the_settings_are_settings(name: str, container: dict):
    assert set(environment_of(container)) <= set(variables())
    target = container["image"].partition(":")[2]
    stage = DOCKERFILE.partition(f"AS {target}\n")[2].partition("\nFROM")[0]
    of_image = {variables()[name] for name in re.findall(r"\b(MAMBAAD_\w+)=", stage)}
    # The service refuses two names of one setting with different values.
    assert not of_image & {variables()[name] for name in environment_of(container)}


@pytest.mark.parametrize("name", SERVICES)
def test_the_service_may_start(name: str, container: dict, monkeypatch: pytest.MonkeyPatch):
    settings = settings_of(container, monkeypatch)
    assert settings.contradictions() == []
    assert settings.needs_keys
    if name != "kserve":
        port = container["ports"][0]["containerPort"]
        assert f'"--port", "{port}"' in DOCKERFILE
    else:
        assert container["args"] == ["serve", "--host", "0.0.0.0", "--port", "8000"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_more_than_one_pod_would_need_one_state(name: str):
    assert the(rendered(name), "StatefulSet")["spec"]["replicas"] == 1


@pytest.mark.parametrize("name", SERVICES)
def test_the_cluster_waits_longer_than_the_service_takes_to_leave(
    name: str, container: dict, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_of(container, monkeypatch)
    longest_s = (
        settings.http.shutdown_grace_s
        + settings.http.request_timeout_ms / 1000
        + settings.http.body_timeout_s
        + settings.workers.stop_grace_s
        + settings.delivery.drain_s
    )
    if name == "kserve":
        holder = the(rendered(name), "InferenceService")["spec"]["predictor"]
    else:
        holder = pod_of(rendered(name))
        assert settings.delivery.drain_s >= 60
    assert holder["terminationGracePeriodSeconds"] > longest_s + RUNTIME_S


@pytest.mark.parametrize("name", SERVICES)
def test_containers_hold_no_rights_that_they_do_not_need(name: str, container: dict):
    """As the Pod Security Standard `restricted` asks, which the namespace enforces."""
    pod = pod_of(rendered(name)) if name != "kserve" else container
    rights = pod["securityContext"] | container["securityContext"]
    (user, group) = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups()
    assert (rights["runAsUser"], rights["runAsGroup"]) == (int(user), int(group))
    assert rights["runAsNonRoot"] is True
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    if name != "kserve":
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["fsGroup"] == int(group)


@pytest.mark.parametrize("name", SERVICES)
def test_what_the_service_writes_lies_in_volumes(name: str, container: dict):
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    written = re.findall(r"_CACHE_DIR=(/\S+)", DOCKERFILE)
    written += [v for k, v in environment_of(container).items() if k.endswith("STATE_DIR")]
    assert written
    assert all(any(path.startswith(folder) for folder in writable) for path in [*written, "/tmp"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_pod_keeps_a_journal_of_its_own(name: str):
    stateful = the(rendered(name), "StatefulSet")["spec"]
    pod = pod_of(rendered(name))
    assert stateful["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    claims = {claim["metadata"]["name"] for claim in stateful["volumeClaimTemplates"]}
    mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    environment = environment_of(pod["containers"][0])
    assert environment["MAMBAAD_VERSIONS__STATE_DIR"].startswith(mounts["state"])
    assert environment["MAMBAAD_ARCHIVE__NODE"] == "metadata.name"
    assert set(mounts) == claims | {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_journal_fits_its_volume(name: str, monkeypatch: pytest.MonkeyPatch):
    """Rows, images, the floor of free space, and the copy that a new release makes of the rows."""
    settings = settings_of(pod_of(rendered(name))["containers"][0], monkeypatch)
    state, _ = the(rendered(name), "StatefulSet")["spec"]["volumeClaimTemplates"]
    size = state["spec"]["resources"]["requests"]["storage"]
    assert int(size.removesuffix("Gi")) * 2**30 >= (
        2 * settings.archive.rows_bytes
        + settings.archive.media_bytes
        + settings.archive.min_free_bytes
    )


@pytest.mark.parametrize("name", SERVICES)
def test_the_probes_ask_what_needs_no_key(
    name: str, container: dict, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_of(container, monkeypatch)
    routes = {
        r.path: r for r in (*health.router.routes, *v2_health.router.routes) if "GET" in r.methods
    }
    for kind, word in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
        path = container[f"{kind}Probe"]["httpGet"]["path"]
        assert word in path
        declaration = declared_by(routes[path].endpoint)
        assert (declaration.is_probe, declaration.access) == (True, Access.OPEN)
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > (
        settings.workers.startup_timeout_s
    )


@pytest.mark.parametrize("name", OVERLAYS)
def test_processors_and_memory_are_the_pods_own(name: str, monkeypatch: pytest.MonkeyPatch):
    """Requests equal limits; threads fit, because a process sees all processors of its machine."""
    container = pod_of(rendered(name))["containers"][0]
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    settings = settings_of(container, monkeypatch)
    cores = int(resources["limits"]["cpu"])
    if "nvidia.com/gpu" not in resources["limits"]:
        assert settings.workers.threads_per_worker <= cores
    assert settings.inspection.decode_threads <= cores
    # Of images in memory alone the service takes at most these.
    least = settings.http.max_inflight_bytes
    assert int(resources["limits"]["memory"].removesuffix("Gi")) * 2**30 > least


def test_no_secret_is_in_the_files():
    for file in KUBERNETES.rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text("utf-8")):
            assert document.get("kind") != "Secret", file
            assert "secretGenerator" not in document, file


def test_checkpoints_in_the_image_need_no_volume(tmp_path: Path):
    objects = with_components(tmp_path, "weights-in-image")
    assert "PersistentVolumeClaim" not in {o["kind"] for o in objects}
    pod = pod_of(objects)
    assert "weights" not in {volume["name"] for volume in pod["volumes"]}
    assert "weights" not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}


def test_prometheus_scrapes_each_pod_once_under_the_name_of_the_alerts(tmp_path: Path):
    objects = with_components(tmp_path, "monitoring")
    monitor = the(objects, "ServiceMonitor")["spec"]
    chosen = monitor["selector"]["matchLabels"].items()
    services = [o for o in objects if o["kind"] == "Service"]
    (service,) = (s for s in services if chosen <= s["metadata"]["labels"].items())
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "mambaad"
    assert 'up{job="mambaad"}' in ALERTS.read_text("utf-8")
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_alerts_are_those_of_the_repository():
    assert RULE.read_text("utf-8") == rule_of(ALERTS.read_text("utf-8")), (
        "run python -m docker.kubernetes.rules"
    )
    rule = yaml.safe_load(RULE.read_text("utf-8"))
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text("utf-8"))


def test_kserve_calls_the_runtime_by_its_names():
    objects = rendered("kserve")
    runtime = the(objects, "ServingRuntime")["spec"]
    model = the(objects, "InferenceService")["spec"]["predictor"]["model"]
    (form,) = runtime["supportedModelFormats"]
    assert model["modelFormat"]["name"] == form["name"]
    assert model["protocolVersion"] in runtime["protocolVersions"]
    assert model["storageUri"] == "pvc://mambaad-weights"
    environment = environment_of(runtime["containers"][0])
    assert environment["MAMBAAD_VERSIONS__WEIGHTS_DIR"] == "/mnt/models"
