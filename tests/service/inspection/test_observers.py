"""Who hears of every image, and the outcome if an observer fails to record it."""

import asyncio
import logging

import pytest

from model.checkpoints.key import CheckpointKey
from model.images.preprocess import Preprocessing
from model.inspection import Decision
from service.errors import InspectionFailed, QueueFull, StateNotWritten
from service.inspection.observers import LogObserver, MetricsObserver, Observers
from service.inspection.options import PartFields
from service.inspection.result import Inspected
from service.inspection.submission import Origin
from service.telemetry.logs import taking_notes
from service.telemetry.metrics import OTHER, BoundedLabel
from service.versions.registry import Route
from service.workers.pipe.messages import Finding


@pytest.fixture
def finding():
    return Finding(Decision.NG, 0.75, 30.0, 20.0, (), {})


@pytest.fixture
def route(calibration):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    checkpoint = CheckpointKey("parts", "1")
    return Route("bolt", checkpoint, preprocessing, calibration(20.0), None, None)


@pytest.fixture
def inspected(route, finding):
    part = PartFields(part_id="part-7")
    return Inspected("bolt", route.checkpoint, finding, (96, 48), {"decode": 3.0}, part)


class Witness:
    """An observer that records its events, and fails if so configured."""

    def __init__(self, name, events, *, required=False, error=None, origins=frozenset(Origin)):
        self.name = name
        self.origins = origins
        self.required = required
        self.error = error
        self.events = events

    async def inspected(self, inspected, route, prepared):
        await asyncio.sleep(0)
        self.events.append((self.name, inspected.finding.decision.value, prepared))
        if self.error:
            raise self.error

    async def failed(self, route, error, part):
        await asyncio.sleep(0)
        self.events.append((self.name, route.category, type(error).__name__, part.part_id))
        if self.error:
            raise self.error


def observers(metrics):
    return Observers([MetricsObserver(metrics), LogObserver()], metrics)


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_an_inspected_image_is_counted_measured_and_noted(metrics, inspected, route):
    with taking_notes() as notes:
        asyncio.run(observers(metrics).inspected(inspected, route, None, Origin.LINE))
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


@pytest.mark.parametrize("origin", [Origin.TEST, Origin.LATE])
def test_a_part_off_the_line_is_noted_and_never_counted(metrics, inspected, route, origin):
    with taking_notes() as notes:
        asyncio.run(observers(metrics).inspected(inspected, route, None, origin))
        asyncio.run(observers(metrics).failed(route, QueueFull("full"), PartFields(), origin))
    assert [image["decision"] for image in notes["images"]] == ["NG", "UNDECIDED"]
    names = ("mambaad_decisions_total", "mambaad_image_errors_total", "mambaad_score_count")
    families = dict.fromkeys(names, 0.0)
    for family in metrics.registry.collect():
        for one in family.samples:
            if one.name in families:
                families[one.name] += one.value
    assert set(families.values()) == {0}


def test_an_observer_hears_of_its_origins_alone(metrics, inspected, route):
    events = []
    late = Witness("late", events, origins=frozenset({Origin.LATE}))
    required = Witness("required", events, required=True, origins=frozenset({Origin.LINE}))
    everyone = Observers([late, required], metrics)
    for origin in Origin:
        asyncio.run(everyone.require(inspected, route, None, origin))
        asyncio.run(everyone.inspected(inspected, route, None, origin))
    assert [one[0] for one in events] == ["required", "late"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [(QueueFull("full"), "queue-full"), (RuntimeError("secret"), "internal-error")],
)
def test_a_failed_image_is_undecided(metrics, route, caplog, error, problem):
    with taking_notes() as notes, caplog.at_level(logging.ERROR):
        asyncio.run(observers(metrics).failed(route, error, PartFields(), Origin.LINE))
    undecided = {"category": "bolt", "decision": "UNDECIDED"}
    assert sample(metrics, "mambaad_decisions_total", **undecided) == 1
    assert sample(metrics, "mambaad_image_errors_total", problem=problem) == 1
    assert notes["images"] == [undecided | {"problem": problem}]
    assert bool(caplog.records) == (problem == "internal-error")


def test_each_is_awaited_in_order_and_those_apart_that_are_required(metrics, inspected, route):
    events = []
    names = {"first": False, "second": True, "third": False, "fourth": True}
    everyone = Observers([Witness(n, events, required=r) for n, r in names.items()], metrics)
    asyncio.run(everyone.require(inspected, route, "pixels", Origin.LINE))
    assert events == [(name, "NG", "pixels") for name in ("second", "fourth")]
    events.clear()
    asyncio.run(everyone.inspected(inspected, route, "pixels", Origin.LINE))
    assert events == [(name, "NG", "pixels") for name in ("first", "third")]
    events.clear()
    asyncio.run(everyone.failed(route, QueueFull("full"), inspected.part, Origin.LINE))
    assert [event[0] for event in events] == ["second", "fourth", "first", "third"]
    assert {event[1:] for event in events} == {("bolt", "QueueFull", "part-7")}


def test_where_one_fails_that_is_not_required_the_others_go_on(metrics, inspected, route, caplog):
    events = []
    broken = Witness("broken", events, error=RuntimeError("a mistake of ours"))
    everyone = Observers([broken, Witness("sound", events)], metrics)
    assert sample(metrics, "mambaad_observer_errors_total", observer="broken") == 0
    asyncio.run(everyone.inspected(inspected, route, None, Origin.LINE))
    asyncio.run(everyone.failed(route, QueueFull("full"), inspected.part, Origin.LINE))
    assert [event[0] for event in events] == ["broken", "sound"] * 2
    assert sample(metrics, "mambaad_observer_errors_total", observer="broken") == 2
    assert sample(metrics, "mambaad_observer_errors_total", observer="sound") == 0
    assert "a mistake of ours" in caplog.text


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError("no space"), InspectionFailed), (StateNotWritten("no space"), StateNotWritten)],
)
def test_where_a_required_one_fails_nobody_else_counts_the_part(
    metrics, inspected, route, caplog, error, expected
):
    events = []
    journal = Witness("journal", events, required=True, error=error)
    everyone = Observers([Witness("metrics", events), journal], metrics)
    with pytest.raises(expected):
        asyncio.run(everyone.require(inspected, route, None, Origin.LINE))
    assert [event[0] for event in events] == ["journal"]
    assert sample(metrics, "mambaad_observer_errors_total", observer="journal") == 1
    assert "no space" in caplog.text


def test_a_label_that_others_choose_takes_a_bounded_number_of_values():
    label = BoundedLabel(2)
    assert [label(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
