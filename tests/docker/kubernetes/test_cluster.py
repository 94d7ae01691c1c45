"""The overlay `cluster`: services with a Ray node beside each, and the RayCluster that computes."""

import re
import tomllib

import pytest

from service.settings import Settings, variables
from tests.docker.kubernetes.rendering import ROOT, Object, pod_of, rendered, the
from tests.docker.kubernetes.test_several import expanded

RAY = {"mambaad.example/ray": "true"}


@pytest.fixture(scope="module")
def objects() -> tuple[Object, ...]:
    return rendered("overlays/cluster")


@pytest.fixture(scope="module")
def cluster(objects: tuple[Object, ...]) -> Object:
    spec: Object = the(objects, "RayCluster")["spec"]
    return spec


@pytest.fixture
def settings(objects: tuple[Object, ...], monkeypatch: pytest.MonkeyPatch) -> Settings:
    values = expanded(pod_of(objects)["containers"][0])
    assert {name for name in values if name.startswith("MAMBAAD_")} <= set(variables())
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "0.0.0.0")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return Settings()


def templates(cluster: Object) -> list[Object]:
    return [cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]]


def test_the_services_start_with_a_shared_state_and_the_ray_node_of_their_pod(settings: Settings):
    assert settings.contradictions() == []
    assert settings.cluster.address == "auto"
    assert settings.state.url


def test_the_ray_cluster_has_room_for_the_workers_and_the_checkpoints(
    cluster: Object, settings: Settings
):
    (group,) = cluster["workerGroupSpecs"]
    cores = int(group["rayStartParams"]["num-cpus"])
    (container,) = group["template"]["spec"]["containers"]
    workers = group["replicas"] * (cores // settings.cluster.cpus_per_worker)
    assert workers == settings.cluster.min_workers == settings.cluster.max_workers
    assert cores < int(container["resources"]["limits"]["cpu"])
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    (weights,) = (
        volume for volume in group["template"]["spec"]["volumes"] if volume["name"] == "weights"
    )
    assert mounts["/srv/mambaad/weights"] == "weights"
    assert weights["persistentVolumeClaim"]["claimName"] == "mambaad-weights"


def test_the_ray_node_of_a_service_joins_the_head_and_offers_no_cores(objects: tuple[Object, ...]):
    pod = pod_of(objects)
    (ray,) = pod["initContainers"]
    assert ray["restartPolicy"] == "Always"  # so it runs beside the service
    head = f"{the(objects, 'RayCluster')['metadata']['name']}-head-svc"  # KubeRay's name
    assert {f"--address={head}:6379", "--num-cpus=0", "--block"} <= set(ray["args"])
    shared = [
        {(mount["name"], mount["mountPath"]) for mount in container["volumeMounts"]}
        for container in (ray, *pod["containers"])
    ]
    assert {("ray", "/tmp/ray"), ("shm", "/dev/shm")} <= set.intersection(*shared)
    assert pod["shareProcessNamespace"]


def test_nobody_but_the_pods_of_the_cluster_reaches_ray(
    objects: tuple[Object, ...], cluster: Object
):
    policy = the(objects, "NetworkPolicy", "mambaad-ray")["spec"]
    assert policy["podSelector"]["matchLabels"] == {
        "ray.io/cluster": the(objects, "RayCluster")["metadata"]["name"]
    }
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": RAY}}]}]
    pods = [the(objects, "StatefulSet")["spec"]["template"], *templates(cluster)]
    assert all(RAY.items() <= pod["metadata"]["labels"].items() for pod in pods)
    of_service = the(objects, "NetworkPolicy")["spec"]
    assert policy["ingress"][0] in of_service["ingress"]
    assert {"to": policy["ingress"][0]["from"]} in of_service["egress"]


def test_all_pods_keep_to_the_restricted_standard(objects: tuple[Object, ...], cluster: Object):
    specs = [pod_of(objects), *(template["spec"] for template in templates(cluster))]
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 10001
        assert not spec["automountServiceAccountToken"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["image"] == "mambaad-service:cluster"
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_ray_reports_its_use_to_nobody(objects: tuple[Object, ...], cluster: Object):
    of_pods = (template["spec"]["containers"] for template in templates(cluster))
    for container in (*pod_of(objects)["initContainers"], *(c for cs in of_pods for c in cs)):
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_more_pods_are_not_started_for_a_queue(objects: tuple[Object, ...]):
    assert "HorizontalPodAutoscaler" not in {o["kind"] for o in objects}
    assert the(objects, "StatefulSet")["spec"]["replicas"] == 2


def test_the_release_of_ray_is_that_of_the_image(cluster: Object):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (required,) = (
        name for name in extras["optional-dependencies"]["cluster"] if name.startswith("ray")
    )
    assert re.fullmatch(r"ray==(.+)", required)[1] == cluster["rayVersion"]
