"""The one use case: the version that answers, and the outcome of each view."""

import asyncio

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision
from service.errors import ImageTooLarge, NoSuchCategory, NoSuchVersion
from service.inspection.inspect_part import InspectPart, PartRequest, find_version
from service.inspection.options import InspectOptions, PartFields
from service.inspection.result import Inspected
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment, Canary
from service.versions.registry import Registry
from service.versions.state import State
from service.workers.pipe.messages import Finding

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

    async def attempt(self, route, view, options):
        self.routes.append(route)
        self.tasks.add(asyncio.current_task())
        await asyncio.sleep(0.01 / view.width)  # later views end first
        if view.width == 1:
            return ImageTooLarge("test")
        finding = Finding(Decision.NG if view.width == 2 else Decision.OK, 0.1, 0.1, 1, (), {})
        return Inspected(route, finding, view.size, {}, options.part)


@pytest.fixture
def pipeline():
    return FakePipeline()


def views(*widths):
    return [Image.new("L", (width, 1)) for width in widths]


def test_each_view_has_its_own_result_in_order(registry, pipeline):
    part = PartRequest("bolt", views(3, 1, 5, 1), version="1")
    result = asyncio.run(InspectPart(registry, pipeline)(part))
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
def test_the_gravest_view_decides(registry, pipeline, widths, decision):
    result = asyncio.run(InspectPart(registry, pipeline)(PartRequest("bolt", views(*widths))))
    assert result.decision is decision


def test_all_views_are_inspected_by_one_version_and_the_same_part_again_by_the_same(
    registry, pipeline
):
    inspect_part = InspectPart(registry, pipeline)

    async def scenario(**draws):
        return (await inspect_part(PartRequest("bolt", views(3, 4), **draws))).route.checkpoint

    by_request = {asyncio.run(scenario(request_id=str(key))) for key in range(40)}
    assert by_request == {ONE, TWO}
    named = InspectOptions(part=PartFields(part_id="part-7"))
    by_part = {asyncio.run(scenario(request_id=str(key), options=named)) for key in range(40)}
    assert len(by_part) == 1
    assert all(a is b for a, b in zip(pipeline.routes[::2], pipeline.routes[1::2], strict=True))


def test_a_part_of_one_view_takes_no_task_of_its_own(registry, pipeline):
    async def scenario():
        await InspectPart(registry, pipeline)(PartRequest("bolt", views(3)))
        assert pipeline.tasks == {asyncio.current_task()}

    asyncio.run(scenario())


def test_without_a_version_no_view_is_inspected(registry, pipeline):
    for part, error in (
        (PartRequest("nut", views(3)), NoSuchCategory),
        (PartRequest("bolt", views(3), version="3"), NoSuchVersion),
    ):
        with pytest.raises(error):
            asyncio.run(InspectPart(registry, pipeline)(part))
    assert pipeline.routes == []
