"""Loading, routing and draining, with a fake loader."""

import asyncio
import json
import shutil
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from service.errors import (
    CheckpointUnavailable,
    Conflict,
    InvalidRequest,
    ModelRefused,
    NoSuchModel,
    StateNotWritten,
)
from service.versions.assignment import Assignment, Canary
from service.versions.changes import Author
from service.versions.lifecycle import Lifecycle, ModelState
from service.versions.registry import Registry
from service.versions.rollout import Rollout
from service.versions.state import Deployment
from service.versions.thresholds import Threshold
from service.workers.pipe.messages import LoadReport, Resident

ONE, TWO, THREE = (CheckpointKey("parts", str(n)) for n in (1, 2, 3))
ADA = Author("Ada", "better", "line-3", "request-1")


@dataclass
class FakeLoader:
    """Holds checkpoints without a device; `gate` delays every load and unload."""

    refused: dict[CheckpointKey, str] = field(default_factory=dict)
    loaded: set[CheckpointKey] = field(default_factory=set)
    calls: list[tuple[str, CheckpointKey]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0

    async def load(self, key):
        self.calls.append(("load", key))
        await self.gate.wait()
        if key in self.refused:
            raise CheckpointUnavailable(self.refused[key])
        self.loaded.add(key)
        return {"cpu": LoadReport(100, 0.5)}

    async def unload(self, key):
        self.calls.append(("unload", key))
        await self.gate.wait()
        self.loaded.discard(key)

    def holds(self, key):
        return key in self.loaded

    def residents(self):
        return {"cpu": {k: Resident(100, 0.5, 0.0, None, since=self.since) for k in self.loaded}}


@dataclass
class Stand:
    root: object
    registry: Registry
    loader: FakeLoader
    deployment: Deployment
    lifecycle: Lifecycle
    rollout: Rollout

    def states(self):
        keys = (version.key for version in self.registry.versions)
        return {key.version: self.lifecycle.state(key) for key in keys}

    @property
    def serving(self):
        return self.registry.find("bolt").checkpoint


@pytest.fixture(scope="module")
def store(tmp_path_factory, save):
    """parts/1 to 3 claim bolt; nuts/1 does not."""
    root = tmp_path_factory.mktemp("lifecycle") / "weights"
    for threshold in (0.1, 0.2, 0.3):
        save(root, "parts", {"bolt": threshold})
    save(root, "nuts", {"nut": 0.5})
    return root


@pytest.fixture
def stand(store, metrics, tmp_path):
    """Build the stand within an event loop; parts/1 is loaded and serves."""

    async def build(drain_s=0.0, state_dir=tmp_path / "state", store=store):
        deployment = Deployment(state_dir)
        state = deployment.state.with_route("bolt", Assignment(stable=ONE))
        deployment.state = state
        registry = Registry(Store(store), metrics, state)
        loader = FakeLoader(loaded={ONE})
        loader.gate.set()
        lifecycle = Lifecycle(registry, loader, drain_s)
        rollout = Rollout(registry, lifecycle, deployment, metrics)
        return Stand(store, registry, loader, deployment, lifecycle, rollout)

    return build


def run(scenario):
    async def limited():
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(limited())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_a_version_is_loaded_before_it_serves_and_the_old_one_goes(stand):
    async def scenario():
        s = await stand()
        s.loader.gate.clear()
        routing = asyncio.create_task(s.rollout.route("bolt", Assignment(stable=TWO), ADA))
        await until(lambda: s.loader.calls)
        assert s.serving == ONE
        assert s.states() == {"1": "ready", "2": "loading", "3": "available"}
        s.loader.gate.set()
        await routing
        assert s.serving == TWO
        await until(lambda: s.states()["1"] == ModelState.UNLOADED)
        assert s.loader.calls == [("load", TWO), ("unload", ONE)]
        assert Deployment(s.deployment._folder).state.routes["bolt"].stable == TWO
        (record,) = s.deployment.audit
        assert (record.action, record.who, record.before["stable"]["version"]) == (
            "route", "Ada", "1"
        )  # fmt: skip

    run(scenario)


def test_a_version_that_does_not_load_changes_nothing_and_says_why(stand):
    async def scenario():
        s = await stand()
        s.loader.refused[TWO] = f"{s.root}/parts/2/network.safetensors is not what was saved"
        with pytest.raises(ModelRefused, match=r"weights/parts/2/network\.safetensors is not"):
            await s.rollout.route("bolt", Assignment(stable=ONE, shadow=TWO), ADA)
        assert s.serving == ONE
        assert s.registry.find("bolt").shadow is None
        assert s.states()["2"] == ModelState.FAILED
        assert "is not what was saved" in s.lifecycle.problem(TWO)
        assert s.deployment.audit == []
        s.loader.refused.clear()
        await s.rollout.route("bolt", Assignment(stable=ONE, shadow=TWO), ADA)
        assert s.registry.find("bolt").shadow.checkpoint == TWO
        assert s.lifecycle.problem(TWO) is None

    run(scenario)


def test_what_serves_and_does_not_load_again_stays_and_says_why(stand):
    async def scenario():
        s = await stand()
        s.loader.refused[ONE] = "damaged since"
        with pytest.raises(ModelRefused, match="damaged since"):
            await s.lifecycle.load(ONE)
        assert s.serving == ONE
        assert s.states()["1"] == ModelState.READY
        assert s.lifecycle.problem(ONE) == "damaged since"
        s.loader.since = asyncio.get_running_loop().time() + 1
        assert s.lifecycle.problem(ONE) is None  # an image that needed it loaded it

    run(scenario)


def test_a_change_that_cannot_be_kept_is_not_made(stand):
    async def scenario():
        s = await stand()
        (s.deployment._folder / "deployment.json" / "in-the-way").mkdir(parents=True)
        with pytest.raises(StateNotWritten):
            await s.rollout.route("bolt", Assignment(stable=TWO), ADA)
        assert s.serving == ONE
        assert ("unload", ONE) not in s.loader.calls

    run(scenario)


def test_what_serves_is_not_unloaded(stand):
    async def scenario():
        s = await stand()
        canary = Canary(checkpoint=TWO, share=0.1)
        await s.rollout.route("bolt", Assignment(stable=ONE, canary=canary, shadow=THREE), ADA)
        for key, role in ((ONE, "stable"), (TWO, "canary"), (THREE, "shadow")):
            with pytest.raises(Conflict, match=rf"the {role} version of 'bolt'.*first"):
                await s.lifecycle.unload(key)
        assert s.loader.loaded == {ONE, TWO, THREE}

    run(scenario)


def test_old_versions_drain_while_requests_may_be_on_their_way(stand):
    async def scenario():
        s = await stand(drain_s=30.0)
        await s.rollout.route("bolt", Assignment(stable=TWO), ADA)
        assert s.states()["1"] == ModelState.DRAINING
        assert ONE in s.loader.loaded
        await s.rollout.route("bolt", Assignment(stable=ONE), ADA)  # back at once
        assert s.states() == {"1": "ready", "2": "draining", "3": "available"}
        assert s.loader.calls == [("load", TWO)]
        await s.lifecycle.unload(TWO)  # without waiting
        assert s.states()["2"] == ModelState.UNLOADED
        await s.rollout.route("bolt", Assignment(stable=THREE), ADA, keep=True)
        assert s.states()["1"] == ModelState.READY
        await s.lifecycle.close()

    run(scenario)


def test_a_version_called_back_while_it_is_unloaded_is_loaded_again(stand):
    async def scenario():
        s = await stand()
        s.loader.loaded.add(TWO)
        s.loader.gate.clear()
        await s.rollout.route("bolt", Assignment(stable=TWO), ADA)
        await until(lambda: ("unload", ONE) in s.loader.calls)
        back = asyncio.create_task(s.rollout.route("bolt", Assignment(stable=ONE), ADA))
        await asyncio.sleep(0.01)
        s.loader.gate.set()
        await back
        assert s.loader.calls[:2] == [("unload", ONE), ("load", ONE)]
        assert s.serving == ONE
        assert ONE in s.loader.loaded

    run(scenario)


def test_who_asked_to_unload_is_answered_though_another_asks_to_load(stand):
    async def scenario():
        s = await stand()
        s.loader.loaded.add(TWO)
        s.loader.gate.clear()
        unloading = [asyncio.create_task(s.lifecycle.unload(TWO)) for _ in range(2)]
        await until(lambda: s.loader.calls)
        assert s.states()["2"] == ModelState.DRAINING
        loading = asyncio.create_task(s.lifecycle.load(TWO))
        await asyncio.sleep(0.01)
        s.loader.gate.set()
        await asyncio.gather(*unloading, loading)
        assert s.loader.calls == [("unload", TWO), ("unload", TWO), ("load", TWO)]
        assert s.states()["2"] == ModelState.READY

    run(scenario)


def test_loads_at_one_time_are_one_load_and_outlive_who_asked(stand):
    async def scenario():
        s = await stand()
        s.loader.gate.clear()
        first, second = (asyncio.create_task(s.lifecycle.load(TWO)) for _ in range(2))
        await until(lambda: s.loader.calls)
        first.cancel()
        s.loader.gate.set()
        await second
        assert s.loader.calls == [("load", TWO)]
        await s.lifecycle.load(TWO)  # loading it again verifies it again
        assert s.loader.calls == [("load", TWO)] * 2
        await s.lifecycle.warm([ONE, TWO])
        assert len(s.loader.calls) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("assignment", "error", "message"),
    [
        (Assignment(stable=CheckpointKey("nuts", "1")), InvalidRequest, "not calibrated for"),
        (Assignment(stable=CheckpointKey("parts", "9")), NoSuchModel, "have: nuts/1, parts/1"),
        (Assignment(stable=CheckpointKey("../x", "1")), NoSuchModel, "no version '1'"),
        (Assignment(stable=ONE, shadow=ONE), InvalidRequest, "must be others"),
    ],
)
def test_impossible_routes_are_refused_before_anything_is_loaded(stand, assignment, error, message):
    async def scenario():
        s = await stand()
        with pytest.raises(error, match=message):
            await s.rollout.route("bolt", assignment, ADA)
        assert s.loader.calls == []
        assert s.serving == ONE

    run(scenario)


def test_many_changes_at_once_leave_what_the_last_one_asked_for(stand):
    async def scenario():
        s = await stand()
        keys = [(ONE, TWO, THREE)[number % 3] for number in range(30)]
        await asyncio.gather(
            *(s.rollout.route("bolt", Assignment(stable=key), ADA) for key in keys)
        )
        assert len(s.deployment.audit) == 30
        last = s.deployment.audit[-1].after["stable"]["version"]
        assert s.serving.version == last
        await until(lambda: not s.lifecycle._draining)
        assert Deployment(s.deployment._folder).state == s.deployment.state

    run(scenario)


def test_a_change_is_made_to_its_end_before_the_next_though_who_asked_leaves(stand, monkeypatch):
    async def scenario():
        s = await stand()
        commit, gate = s.deployment.commit, threading.Event()

        def slow(*change):
            gate.wait(10)
            commit(*change)

        monkeypatch.setattr(s.deployment, "commit", slow)
        first = asyncio.create_task(s.rollout.set_threshold("bolt", TWO, threshold(0.7), ADA))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(s.rollout.route("bolt", Assignment(stable=TWO), ADA))
        await asyncio.sleep(0.5)  # a busy machine needs more to load it
        second.cancel()
        gate.set()
        await until(lambda: ("unload", ONE) in s.loader.calls)  # it does not stay forever
        assert s.serving == TWO
        assert s.registry.find("bolt").calibration.image_threshold == 0.7
        assert [record.action for record in s.deployment.audit] == ["threshold", "route"]

    run(scenario)


def test_of_two_changes_of_the_same_route_the_second_is_refused(stand):
    async def scenario():
        s = await stand()
        seen = s.rollout.revision("bolt")
        await s.rollout.route("bolt", Assignment(stable=TWO), ADA, revision=seen)
        with pytest.raises(Conflict, match="was changed meanwhile"):
            await s.rollout.route("bolt", Assignment(stable=THREE), ADA, revision=seen)
        assert ("load", THREE) not in s.loader.calls
        await s.rollout.route("bolt", Assignment(stable=ONE), ADA)  # as at first
        assert s.rollout.revision("bolt") != seen
        routed = [
            record.after["stable"]["version"] for record in s.rollout.history("bolt", "route")
        ]
        assert routed == ["1", "2"]
        assert s.rollout.history("bolt") == []

    run(scenario)


def test_a_route_that_changes_while_versions_load_is_not_overwritten(stand):
    async def scenario():
        s = await stand()
        seen = s.rollout.revision("bolt")
        s.loader.gate.clear()
        late = asyncio.create_task(
            s.rollout.route("bolt", Assignment(stable=TWO), ADA, revision=seen)
        )
        await until(lambda: ("load", TWO) in s.loader.calls)
        await s.rollout.route("bolt", Assignment(stable=ONE), ADA)
        s.loader.gate.set()
        with pytest.raises(Conflict):
            await late
        assert s.serving == ONE
        assert len(s.deployment.audit) == 1

    run(scenario)


def test_thresholds_that_serve_are_calibrated_anew_only_on_record(
    stand, store, tmp_path, calibration
):
    async def scenario():
        root = shutil.copytree(store, tmp_path / "weights")
        s = await stand(store=root)
        anew = {"bolt": calibration(0.9).to_dict()}
        for version in ("1", "2"):
            path = root / "parts" / version / "manifest.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"calibrations": anew}))
        for key in (ONE, TWO):
            await s.lifecycle.load(key)
        assert s.rollout.threshold("bolt", ONE)["threshold"] == 0.1
        assert s.rollout.threshold("bolt", TWO)["threshold"] == 0.9  # but it decides nothing
        await s.rollout.load(ONE, ADA)
        await s.rollout.load(ONE, ADA)
        assert s.registry.find("bolt").calibration.image_threshold == 0.9
        (record,) = s.deployment.audit
        assert (record.who, record.model) == ("Ada", "parts/1")
        assert (record.before["threshold"], record.after["threshold"]) == (0.1, 0.9)

    run(scenario)


def threshold(value):
    return Threshold(threshold=value, who="Ada", reason="lamp", at=datetime.now(UTC))
