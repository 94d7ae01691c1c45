"""Which version answers a request that may ask for one."""

import pytest
from prometheus_client import CollectorRegistry

from model.store import Store
from service.channel import CheckpointKey
from service.deployment import State
from service.errors import NoSuchCategory, NoSuchVersion
from service.metrics import Metrics
from service.registry import Registry
from service.routing import Assignment, Canary
from service.serving import find_version

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
