"""What is kept of every image."""

import logging

import pytest

from model.inspection import Decision
from model.preprocess import Preprocessing
from service.channel import CheckpointKey, Finding
from service.drift import DriftMonitor
from service.errors import QueueFull
from service.logs import taking_notes
from service.metrics import OTHER, BoundedLabel
from service.record import Record
from service.registry import Route


@pytest.fixture
def finding():
    return Finding(Decision.NG, 0.75, 30.0, 20.0, (), {})


@pytest.fixture
def route(calibration):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    checkpoint = CheckpointKey("parts", "1")
    return Route("bolt", checkpoint, preprocessing, calibration(20.0), None, None)


def record(metrics):
    return Record(metrics, DriftMonitor(metrics))


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_an_inspected_image_is_counted_measured_and_noted(metrics, route, finding):
    with taking_notes() as notes:
        record(metrics).inspected(route, finding, {"decode": 3.0}, "part-7")
    assert sample(metrics, "mambaad_decisions_total", category="bolt", decision="NG") == 1
    assert sample(metrics, "mambaad_score_sum", category="bolt") == 0.75
    stage = {"stage": "decode", "category": "bolt"}
    assert sample(metrics, "mambaad_stage_duration_seconds_sum", **stage) == 0.003
    # The threshold is 20 and the scale 10: 30 lies one scale above it.
    margin = {"category": "bolt", "le": "1.0"}
    assert sample(metrics, "mambaad_score_margin_ratio_bucket", **margin) == 1
    assert sample(metrics, "mambaad_score_margin_ratio_bucket", **margin | {"le": "0.5"}) == 0
    (image,) = notes["images"]
    part = {"part_id": "part-7", "category": "bolt", "model": "parts/1"}
    assert image == part | {"decision": "NG", "score": 0.75}


@pytest.mark.parametrize(
    ("error", "problem"),
    [(QueueFull("full"), "queue-full"), (RuntimeError("secret"), "internal-error")],
)
def test_a_failed_image_is_undecided(metrics, caplog, error, problem):
    with taking_notes() as notes, caplog.at_level(logging.ERROR):
        record(metrics).failed("bolt", error)
    undecided = {"category": "bolt", "decision": "UNDECIDED"}
    assert sample(metrics, "mambaad_decisions_total", **undecided) == 1
    assert sample(metrics, "mambaad_image_errors_total", problem=problem) == 1
    assert notes["images"] == [undecided | {"problem": problem}]
    assert bool(caplog.records) == (problem == "internal-error")


def test_a_label_that_others_choose_takes_a_bounded_number_of_values():
    label = BoundedLabel(2)
    assert [label(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
