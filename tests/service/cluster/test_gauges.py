"""Each service counts the cluster's workers, nodes, replicas and restarted actors."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from service.assembly.inspecting import _warn_of_unknown
from service.cluster.gauges import ClusterGauges
from service.cluster.messages import WorkerReport
from service.cluster.view import WorkerView
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry
from service.workers.pipe.messages import Resident
from service.workers.protocol import WorkerState

SOLAR, OTHER = CheckpointKey("solar", "1"), CheckpointKey("other", "1")


class Scene:
    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.views = {name: WorkerView(name, "me", 0.0) for name in ("cpu/0", "cpu/1")}
        self.problem: str | None = None
        self.gauges = ClusterGauges(self.metrics, self.views, {"solar": 2}, lambda: self.problem)

    def report(
        self, name: str, *keys: CheckpointKey, incarnation: str = "1", node: str = "a"
    ) -> None:
        residents = {key: Resident(1, 1.0, 0.0, None) for key in keys}
        state = WorkerState.READY
        report = WorkerReport(incarnation, node, state, "ready", residents=residents)
        self.views[name].note(report, 0.0)

    def look(self, *wanted: CheckpointKey) -> None:
        self.gauges.look(wanted)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"mambaad_cluster_{name}", labels)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_workers_are_counted_by_state_and_machines_by_their_ready_workers(scene):
    scene.report("cpu/0", node="a")
    scene.look()
    assert scene.value("workers", state="ready") == 1
    assert scene.value("workers", state="starting") == 1
    assert scene.value("nodes") == 1
    scene.report("cpu/1", node="b")
    scene.look()
    assert (scene.value("workers", state="ready"), scene.value("nodes")) == (2, 2)
    scene.views["cpu/1"].note_loss("its actor died")
    scene.look()
    assert scene.value("workers", state="restarting") == 1
    assert scene.value("nodes") == 1


def test_a_new_actor_of_a_worker_counts_as_a_restart(scene):
    for incarnation in ("1", "1", "2"):
        scene.report("cpu/0", incarnation=incarnation)
        scene.look()
    assert scene.value("actor_restarts_total") == 1


def test_each_load_of_a_known_worker_is_counted_and_no_unload(scene):
    scene.look()
    scene.report("cpu/0", SOLAR)
    scene.look()
    scene.report("cpu/0", OTHER)
    scene.look()
    scene.report("cpu/0", SOLAR, OTHER)
    scene.look()
    assert scene.value("model_loads_total") == 3


def test_missing_replicas_are_shown_while_the_checkpoint_serves(scene):
    scene.report("cpu/0", SOLAR, OTHER)
    scene.look(SOLAR, OTHER)
    assert scene.value("replicas_missing", model="solar", version="1") == 1
    assert scene.value("replicas_missing", model="other", version="1") is None
    scene.report("cpu/1", SOLAR)
    scene.look(SOLAR)
    assert scene.value("replicas_missing", model="solar", version="1") == 0
    scene.look(OTHER)
    assert scene.value("replicas_missing", model="solar", version="1") is None


def test_a_head_that_does_not_answer_is_shown(scene):
    scene.look()
    assert scene.value("away") == 0
    scene.problem = "the head does not answer"
    scene.look()
    assert scene.value("away") == 1


def test_names_that_are_not_in_the_store_are_logged_with_a_hint(tmp_path: Path, save, caplog):
    save(tmp_path, "solar", {"solar-mono": 0.5})
    registry = Registry(Store(tmp_path), Metrics(CollectorRegistry()))
    _warn_of_unknown({"solar": 2, "solr": 1, "solar-mono": 1}, registry)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition("names ")[2] for line in lines if "REPLICAS" in line] == [
        "solar-mono, but the store has no such checkpoint; "
        "it is a category of the checkpoint solar",
        "solr, but the store has no such checkpoint; did you mean solar?",
    ]
