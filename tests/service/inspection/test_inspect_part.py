"""The one use case: the version that answers, and the outcome of each view."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision, ImageSize
from service.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    InspectionFailed,
    JournalUnavailable,
    MapNotKept,
    NoSuchCategory,
    NoSuchVersion,
)
from service.identifiers import new_id
from service.inspection.images.pictures import HeatmapKind
from service.inspection.images.preparing import Prepared
from service.inspection.inspect_part import InspectPart, find_version
from service.inspection.observers import Observer, Observers
from service.inspection.options import InspectOptions, PartFields
from service.inspection.request import PartRequest
from service.inspection.result import Attempt, Inspected, PartResult
from service.inspection.submission import Origin, Submission, Told
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment, Canary
from service.versions.registry import Registry
from service.versions.state import State
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding

PREPARED = Prepared((96, 48), np.empty((0, 3, 4, 4), np.uint8), ImageSize(4, 4), None, {})
ONE, TWO, THREE = (CheckpointKey("parts", version) for version in "123")


@pytest.fixture(scope="module")
def registry(tmp_path_factory, save):
    root = tmp_path_factory.mktemp("store")
    for _ in range(3):
        save(root, "parts", {"bolt": 0.5})
    canary = Canary(checkpoint=TWO, share=0.5)
    state = State().with_route("bolt", Assignment(stable=ONE, canary=canary, shadow=THREE))
    return Registry(Store(root), Metrics(CollectorRegistry()), state)


def test_without_a_version_the_key_draws(registry):
    drawn = {find_version(registry, "bolt", None, str(key)).checkpoint for key in range(40)}
    assert drawn == {ONE, TWO}


def test_a_version_that_answers_can_be_asked_for(registry):
    for key in range(10):
        assert find_version(registry, "bolt", "1", str(key)).checkpoint == ONE
        assert find_version(registry, "bolt", "2", str(key)).checkpoint == TWO


@pytest.mark.parametrize("version", ["3", "4", "", "01", "../1", "x" * 1000])
def test_a_version_that_answers_nothing_is_refused(registry, version):
    with pytest.raises(NoSuchVersion, match="serving: 1, 2") as refusal:
        find_version(registry, "bolt", version, "key")
    assert len(str(refusal.value)) < 200


def test_the_category_comes_first(registry):
    with pytest.raises(NoSuchCategory):
        find_version(registry, "nut", "1", "key")


class FakePipeline:
    """Answers each view with its size, or with an error if it is a pixel wide."""

    def __init__(self):
        self.routes = []
        self.tasks = set()
        self.options = []

    async def attempt(self, route, view, options):
        self.routes.append(route)
        self.options.append(options)
        self.tasks.add(asyncio.current_task())
        await asyncio.sleep(0.01 / view.width)  # later views end first
        if view.width == 1:
            return Attempt(ImageTooLarge("test"))
        finding = Finding(Decision.NG if view.width == 2 else Decision.OK, 0.1, 0.1, 1, (), {})
        inspected = Inspected(
            route.category, route.checkpoint, finding, view.size, {}, options.part
        )
        return Attempt(inspected, PREPARED)

    def deadline(self, options):
        return options.deadline_within(30.0)


@pytest.fixture
def pipeline():
    return FakePipeline()


@pytest.fixture
def use_case(registry, pipeline, metrics):
    """The use case, with a recorder and observers."""

    def make(recorder=None, *observers):
        return InspectPart(registry, pipeline, Observers(observers, metrics), recorder)

    return make


def views(*widths):
    return [Image.new("L", (width, 1)) for width in widths]


def test_each_view_has_its_own_result_in_order(use_case):
    part = PartRequest("bolt", views(3, 1, 5, 1), version="1")
    result = asyncio.run(use_case()(part))
    first, second, third, fourth = result.views
    assert (first.size, third.size) == ((3, 1), (5, 1))
    assert isinstance(second, ImageTooLarge)
    assert result.errors == {1: second, 3: fourth}
    assert result.route.checkpoint == ONE


@pytest.mark.parametrize(
    ("widths", "decision"),
    [
        ((3, 4), Decision.OK),
        ((3, 1), Decision.UNDECIDED),
        ((3, 1, 2), Decision.NG),
        ((1,), Decision.UNDECIDED),
    ],
)
def test_the_gravest_view_decides(use_case, widths, decision):
    result = asyncio.run(use_case()(PartRequest("bolt", views(*widths))))
    assert result.decision is decision


def test_all_views_are_inspected_by_one_version_and_the_same_part_again_by_the_same(
    use_case, pipeline
):
    inspect_part = use_case()

    async def scenario(**draws):
        return (await inspect_part(PartRequest("bolt", views(3, 4), **draws))).route.checkpoint

    by_request = {asyncio.run(scenario(request_id=str(key))) for key in range(40)}
    assert by_request == {ONE, TWO}
    named = InspectOptions(part=PartFields(part_id="part-7"))
    by_part = {asyncio.run(scenario(request_id=str(key), options=named)) for key in range(40)}
    assert len(by_part) == 1
    assert all(a is b for a, b in zip(pipeline.routes[::2], pipeline.routes[1::2], strict=True))


def test_a_part_of_one_view_takes_no_task_of_its_own(use_case, pipeline):
    async def scenario():
        await use_case()(PartRequest("bolt", views(3)))
        assert pipeline.tasks == {asyncio.current_task()}

    asyncio.run(scenario())


def test_without_a_version_no_view_is_inspected(use_case, pipeline):
    for part, error in (
        (PartRequest("nut", views(3)), NoSuchCategory),
        (PartRequest("bolt", views(3), version="3"), NoSuchVersion),
    ):
        with pytest.raises(error):
            asyncio.run(use_case()(part))
    assert pipeline.routes == []


class Recorder:
    """Notes what it is asked, in order, and answers as it is told to."""

    def __init__(self, log=None, *, error=None, earlier=None):
        self.log = [] if log is None else log
        self.error = error
        self.earlier = earlier
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.begun = asyncio.Event()

    def maps_of(self, submission):
        return frozenset({Decision.NG})

    async def recall(self, part, deadline):
        self.log.append("recall")
        return self.earlier

    async def record(self, part, result, attempts, deadline):
        self.begun.set()
        await self.going_on.wait()
        if self.error:
            raise self.error
        self.log.append(("record", result.decision, len(attempts)))
        return replace(result, archived=True)

    def refuse(self, part, slug, detail):
        self.log.append(("refuse", slug))


class Witness(Observer):
    def __init__(self, log, *, required=False, error=None):
        self.name = "required" if required else "witness"
        self.required = required
        self.log = log
        self.error = error

    async def inspected(self, inspected, route, prepared):
        self.log.append((self.name, inspected.finding.decision, prepared))
        if self.error:
            raise self.error

    async def failed(self, route, error, part):
        self.log.append((self.name, type(error)))


def known(**fields):
    return Submission(new_id(), **fields)


def test_a_part_is_recorded_before_anybody_counts_it(use_case, pipeline):
    log = []
    inspect_part = use_case(Recorder(log), Witness(log), Witness(log, required=True))
    result = asyncio.run(inspect_part(PartRequest("bolt", views(2, 3))))
    assert (result.decision, result.archived, result.replayed) == (Decision.NG, True, False)
    assert log == [
        ("required", Decision.NG, PREPARED),
        ("required", Decision.OK, PREPARED),
        ("record", Decision.NG, 2),
        ("witness", Decision.NG, PREPARED),
        ("witness", Decision.OK, PREPARED),
    ] or log[:2] == [("required", Decision.OK, PREPARED), ("required", Decision.NG, PREPARED)]
    assert {options.fingerprints for options in pipeline.options} == {True}
    assert {options.maps_of for options in pipeline.options} == {frozenset({Decision.NG})}


def test_a_part_that_a_required_observer_cannot_note_is_recorded_as_undecided(use_case):
    log = []
    broken = Witness(log, required=True, error=OSError("no space"))
    inspect_part = use_case(Recorder(log), broken, Witness(log))
    result = asyncio.run(inspect_part(PartRequest("bolt", views(3))))
    assert isinstance(result.views[0], InspectionFailed)
    assert log[1:] == [
        ("record", Decision.UNDECIDED, 1),
        ("required", InspectionFailed),
        ("witness", InspectionFailed),
    ]


@pytest.mark.parametrize(
    "error", [DeadlineExceeded("late"), JournalUnavailable("full"), RuntimeError("ours")]
)
def test_a_part_that_cannot_be_recorded_is_undecided(use_case, error):
    log = []
    result = asyncio.run(
        use_case(Recorder(log, error=error), Witness(log))(PartRequest("bolt", views(2)))
    )
    assert (result.decision, result.archived) == (Decision.UNDECIDED, None)
    assert result.views == [error]
    slugs = {
        DeadlineExceeded: "deadline-exceeded",
        JournalUnavailable: "journal-unavailable",
        RuntimeError: "internal-error",
    }
    assert log == [("refuse", slugs[type(error)]), ("witness", type(error))]
    assert error.__traceback__ is None


def test_what_is_refused_before_the_network_is_noted(use_case):
    log = []
    with pytest.raises(NoSuchCategory):
        asyncio.run(use_case(Recorder(log))(PartRequest("nut", views(3))))
    assert log == [("refuse", "unknown-category")]


def test_a_client_that_leaves_early_leaves_an_undecided_part(use_case, pipeline):
    log = []

    async def scenario():
        working = asyncio.create_task(use_case(Recorder(log))(PartRequest("bolt", views(3))))
        while not pipeline.routes:
            await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    asyncio.run(scenario())
    assert log == [("refuse", "client-gone")]


def test_a_client_that_leaves_after_the_decision_does_not_prevent_the_record(use_case):
    log = []

    async def scenario():
        recorder = Recorder(log)
        inspect_part = use_case(recorder, Witness(log))
        recorder.going_on.clear()
        working = asyncio.create_task(inspect_part(PartRequest("bolt", views(2))))
        await recorder.begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert log == []
        recorder.going_on.set()
        await inspect_part.settle()

    asyncio.run(scenario())
    assert log == [("record", Decision.NG, 1), ("witness", Decision.NG, PREPARED)]


def test_a_second_request_with_an_id_waits_for_the_first(use_case):
    log = []

    async def scenario():
        recorder = Recorder(log)
        inspect_part = use_case(recorder)
        part = PartRequest("bolt", views(2), submission=known())
        recorder.going_on.clear()
        first = asyncio.create_task(inspect_part(part))
        await recorder.begun.wait()
        second = asyncio.create_task(inspect_part(part))
        brief = replace(part, options=InspectOptions(timeout_s=0.01))
        with pytest.raises(DeadlineExceeded, match="another request"):
            await inspect_part(brief)
        first.cancel()  # its record goes on, and the second waits for that
        await asyncio.sleep(0.01)
        assert log == ["recall"]
        recorder.going_on.set()
        await second

    asyncio.run(scenario())
    assert log == ["recall", ("record", Decision.NG, 1), "recall", ("record", Decision.NG, 1)]


def test_an_id_is_free_again_after_a_failure(use_case):
    recorder = Recorder()

    async def scenario():
        inspect_part = use_case(recorder)
        submission = known()
        for _ in range(2):
            with pytest.raises(NoSuchCategory):
                await inspect_part(PartRequest("nut", views(3), submission=submission))

    asyncio.run(scenario())
    assert recorder.log == ["recall", ("refuse", "unknown-category")] * 2


def earlier_result(scores=None, version="1"):
    finding = Finding(Decision.NG, 0.9, 0.9, 0.5, (), {}, scores)
    checkpoint = CheckpointKey("parts", version)
    view = Inspected("bolt", checkpoint, finding, (96, 48), {}, PartFields())
    return PartResult(None, [view], new_id(), archived=True, replayed=True)


def test_a_journaled_result_is_answered_without_inspecting_or_counting(use_case, pipeline):
    log = []
    inspect_part = use_case(Recorder(log, earlier=earlier_result()), Witness(log))
    result = asyncio.run(inspect_part(PartRequest("bolt", views(3), submission=known())))
    assert (result.decision, result.replayed, result.route.checkpoint) == (Decision.NG, True, ONE)
    assert (log, pipeline.routes) == (["recall"], [])
    inspect_part = use_case(Recorder(earlier=earlier_result(version="9")))
    result = asyncio.run(inspect_part(PartRequest("bolt", views(3), submission=known())))
    assert (result.decision, result.route) == (Decision.NG, None)


@pytest.mark.parametrize(
    ("version", "has_map"), [("1", False), ("9", True)], ids=["no map", "no such version"]
)
def test_an_answer_that_needs_the_map_is_refused_without_it(use_case, version, has_map):
    scores = np.zeros((4, 4), np.float32) if has_map else None
    inspect_part = use_case(Recorder(earlier=earlier_result(scores, version)))
    for options in (InspectOptions(anomaly_map=True), InspectOptions(draw=lambda *_: "")):
        part = PartRequest("bolt", views(3), options, submission=known())
        with pytest.raises(MapNotKept, match=r"decided NG, but .* is no longer there"):
            asyncio.run(inspect_part(part))
    heatmap = InspectOptions(heatmap=HeatmapKind.OVERLAY)
    part = PartRequest("bolt", views(3), heatmap, submission=known())
    assert asyncio.run(inspect_part(part)).views[0].picture is None


def test_a_late_part_waits_behind_the_line(use_case, pipeline):
    inspect_part = use_case()
    late = known(origin=Origin.LATE, told=Told(Decision.OK))
    asyncio.run(inspect_part(PartRequest("bolt", views(3), submission=late)))
    asyncio.run(inspect_part(PartRequest("bolt", views(3))))
    behind, ahead = pipeline.options
    assert (behind.priority, behind.patient) == (Priority.LOW, True)
    assert (ahead.priority, ahead.patient) == (Priority.NORMAL, False)
