"""The records of a run, and the message if a disk or server refuses them."""

import json
import logging
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tensorboardX.proto import event_pb2

from model.checkpoints.checkpoint import CheckpointStore
from model.errors import CheckpointError, ConfigError
from model.training import Run, train
from model.training.progress.monitor import Monitors
from model.training.progress.records import (
    CURVE_FILE,
    RECIPE_FILE,
    Curve,
    TensorBoard,
    read_curve,
    thinned,
)
from model.training.progress.state import EpochRecord, Place
from model.training.progress.tracking import MLflow
from tests.tiny import CONFIG, recipe


def record(epoch, held_out_loss=0.25):
    return EpochRecord(epoch, 0.5, held_out_loss, 1e-3, 2.0, 8.0, 0.25)


def events(folder):
    """Read every event in the folder's files, in order, like TensorBoard."""
    parsed = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            parsed.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return [(e.step, v.tag, v.simple_value) for e in parsed for v in e.summary.value]


def test_a_run_leaves_its_recipe_curve_and_events(data, tmp_path):
    run = Run(
        name="bolts", folder=tmp_path / "run", store=CheckpointStore(tmp_path / "w"),
        recipe=recipe(tmp_path.parent, replace(CONFIG, epochs=2)),
    )  # fmt: skip
    manifest = train(run, data).manifest
    assert (tmp_path / "run" / RECIPE_FILE).read_text() == run.recipe.to_yaml()
    curve = read_curve(tmp_path / "run")
    assert [r.epoch for r in curve] == [1, 2]
    assert all(0 <= r.wait_s <= r.seconds for r in curve)
    assert manifest.training["curve"]["loss"] == pytest.approx([r.loss for r in curve], rel=1e-5)
    assert manifest.training["ended"] == "all epochs"
    seen = events(tmp_path / "run" / "tensorboard")
    assert [step for step, tag, _ in seen if tag == "step/loss"] == [1, 2, 3, 4]
    assert [v for _, tag, v in seen if tag == "epoch/loss"] == pytest.approx(
        [r.loss for r in curve]
    )
    assert any(tag.startswith("recipe") for _, tag, _ in seen)


def test_a_resumed_curve_forgets_what_the_state_does_not_know(tmp_path):
    curve = Curve(tmp_path)
    curve.begin(5, 2, Place())
    for epoch in (1, 2, 3):
        curve.epoch(record(epoch))
    resumed = Curve(tmp_path)
    resumed.begin(5, 2, Place(epoch=2, history=[record(1), record(2)]))
    assert [r.epoch for r in read_curve(tmp_path)] == [1, 2]
    resumed.epoch(record(3, None))
    assert read_curve(tmp_path)[-1] == record(3, None)


def test_no_curve_is_an_empty_one_and_a_damaged_one_is_said(tmp_path):
    assert read_curve(tmp_path) == []
    (tmp_path / CURVE_FILE).write_text(json.dumps({"epoch": 1}) + "\n")
    with pytest.raises(CheckpointError, match="not the curve of a run"):
        read_curve(tmp_path)


def test_a_long_curve_is_thinned_for_the_manifest():
    columns = thinned([record(epoch) for epoch in range(1, 1001)])
    assert len(columns["epoch"]) == 100
    assert columns["epoch"][-1] == 1000
    assert len(columns["loss"]) == len(columns["held_out_loss"]) == 100
    assert thinned([]) == {"epoch": [], "loss": [], "held_out_loss": [], "learning_rate": []}


def test_events_of_a_resumed_run_stand_beside_the_earlier_ones(tmp_path):
    for place in (Place(), Place(epoch=1, history=[record(1)])):
        board = TensorBoard(tmp_path)
        board.begin(3, 2, place)
        board.epoch(record(place.epoch + 1))
        board.end(None)
    assert [s for s, tag, _ in events(tmp_path / "tensorboard") if tag == "epoch/loss"] == [1, 2]
    board = TensorBoard(tmp_path)
    board.begin(3, 2, Place())
    board.end(None)
    assert events(tmp_path / "tensorboard") == []


def test_a_full_disk_is_an_error_that_names_the_record(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    board = TensorBoard(tmp_path)
    board.begin(3, 2, Place())
    monkeypatch.setattr(board._writer, "write_event", full)
    with pytest.raises(CheckpointError, match=r"tensorboard: .*No space left"):
        board.step(Place(step=1), 0.5)
    board.end(None)
    monkeypatch.setattr("model.durable.os.fsync", full)
    with pytest.raises(CheckpointError, match=r"curve\.jsonl: .*No space left"):
        Curve(tmp_path).begin(3, 2, Place())


# MLflow, with a client that records its calls


class Client:
    def __init__(self, tracking_uri):
        self.uri, self.calls = tracking_uri, []
        self.broken = False

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        self.calls.append(("experiment", name))
        return "7"

    def create_run(self, experiment, run_name):
        self.calls.append(("run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def update_run(self, run, status):
        self.calls.append(("update", run, status))

    def log_param(self, run, key, value):
        self.calls.append(("param", run, key, value))

    def log_metric(self, run, key, value, step):
        if self.broken:
            raise ConnectionError("no server")
        self.calls.append(("metric", run, key, value, step))

    def set_tag(self, run, key, value):
        self.calls.append(("tag", run, key, value))

    def set_terminated(self, run, status):
        self.calls.append(("end", run, status))


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    return lambda: MLflow("http://mlflow", "parts", "bolts", tmp_path, {"training.epochs": 3})


def test_mlflow_gets_parameters_figures_and_the_outcome(tracked):
    monitor = tracked()
    monitors = Monitors(monitor)
    monitors.begin(3, 2, Place())
    monitors.epoch(record(1, None))
    monitors.end({"checkpoint": "bolts/1"})
    calls = monitor._client.calls
    assert monitor._client.uri == "http://mlflow"
    assert calls[:3] == [
        ("experiment", "parts"),
        ("run", "7", "bolts"),
        ("param", "abc", "training.epochs", 3),
    ]
    assert ("metric", "abc", "loss", 0.5, 1) in calls
    assert not [call for call in calls if "held_out_loss" in call]
    assert calls[-2:] == [("tag", "abc", "checkpoint", "bolts/1"), ("end", "abc", "FINISHED")]


def test_a_resumed_run_is_the_same_run_in_mlflow(tracked):
    tracked().begin(3, 2, Place())
    monitor = tracked()
    monitor.begin(3, 2, Place(epoch=1, history=[record(1)]))
    monitor.epoch(record(2))
    monitor.end(None)
    assert monitor._client.calls[0] == ("update", "abc", "RUNNING")
    assert monitor._client.calls[-1] == ("end", "abc", "FAILED")


def test_a_server_that_is_gone_is_said_once_and_stops_nothing(tracked, caplog):
    monitor = tracked()
    monitor.begin(3, 2, Place())
    monitor._client.broken = True
    with caplog.at_level(logging.WARNING):
        monitor.epoch(record(1))
        monitor.epoch(record(2))
        monitor.end(None)
    assert [r.getMessage() for r in caplog.records] == [
        "logging to MLflow stops for this run: no server"
    ]


def test_a_place_that_mlflow_refuses_is_said_before_training(tmp_path, monkeypatch):
    def refusing(tracking_uri):
        raise ValueError(f"no store for {tracking_uri}")

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=refusing))
    with pytest.raises(ConfigError, match="cannot log to MLflow at 'ftp://x': no store"):
        MLflow("ftp://x", "parts", "bolts", tmp_path, {})


def test_mlflow_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"mambaad-service\[mlflow\]"):
        MLflow("http://mlflow", "parts", "bolts", tmp_path, {})
