"""The manager has workers keep checkpoints: with actors that are played, without Ray's nodes."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.checkpoints.key import CheckpointKey
from service.cluster.messages import ClusterPlan, Presence, WorkerReport
from service.cluster.placement import ranked
from service.cluster.remote.manager import Manager
from service.errors import CheckpointUnavailable
from service.settings import ClusterSettings, TelemetrySettings, WorkerSettings
from service.workers.pipe.messages import LoadReport, Resident
from service.workers.protocol import WorkerState

SOLAR, OTHER = CheckpointKey("solar", "1"), CheckpointKey("other", "1")
NAMES = ("cpu/0", "cpu/1", "cpu/2")


class Actor:
    """A worker as the manager sees it; `is_full` refuses what it should keep."""

    def __init__(self, running: set[str], name: str) -> None:
        self._running, self._name = running, name
        self.at_once = 0
        self.loaded: set[CheckpointKey] = set()
        self.keeps: frozenset[CheckpointKey] = frozenset()
        self.is_full = False
        for method in ("report", "keep", "place", "unload"):
            setattr(self, method, SimpleNamespace(remote=getattr(self, f"_{method}")))

    async def _report(self) -> WorkerReport:
        residents = {key: Resident(1, 1.0, 0.0, None) for key in self.loaded}
        state = WorkerState.READY
        return WorkerReport("1", "node", state, "ready", has_begun=True, residents=residents)

    def _keep(self, keys: frozenset[CheckpointKey]) -> None:
        self.keeps = keys

    async def _place(self, key: CheckpointKey) -> LoadReport | CheckpointUnavailable:
        self._running.add(self._name)
        self.at_once = max(self.at_once, len(self._running))
        await asyncio.sleep(0.01)
        self._running.discard(self._name)
        if self.is_full:
            return CheckpointUnavailable("no room")
        self.loaded.add(key)
        return LoadReport(1, 1.0)

    async def _unload(self, key: CheckpointKey) -> None:
        self.loaded.discard(key)


class Scene:
    def __init__(self, **settings) -> None:
        workers = WorkerSettings(**{"max_model_bytes": 1000, **settings})
        cluster = ClusterSettings(min_workers=3, max_workers=3, replicas={"solar": 2})
        plan = ClusterPlan("plan", cluster, workers, Path("weights"), TelemetrySettings())
        self.manager = Manager(plan)
        self.manager._services["one"] = (Presence("one", "node", (SOLAR, OTHER)), "node", 1e12)
        running: set[str] = set()
        self.actors = {name: Actor(running, name) for name in NAMES}
        self.manager._workers = dict(self.actors)

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.manager._look()
            await asyncio.sleep(0.05)

    def holders(self, key: CheckpointKey) -> list[str]:
        return sorted(name for name, actor in self.actors.items() if key in actor.loaded)


@pytest.fixture
def play():
    pytest.importorskip("ray")

    def run(scenario, **settings):
        async def scene():
            await scenario(Scene(**settings))

        asyncio.run(scene())

    return run


def test_as_many_workers_as_the_settings_say_load_and_keep_a_checkpoint(play):
    async def scenario(scene):
        await scene.look(4)
        assert scene.holders(SOLAR) == sorted(ranked(SOLAR, NAMES)[:2])
        assert scene.holders(OTHER) == []
        keepers = sorted(name for name, actor in scene.actors.items() if SOLAR in actor.keeps)
        assert keepers == scene.holders(SOLAR)
        assert max(actor.at_once for actor in scene.actors.values()) == 1

    play(scenario)


def test_a_worker_without_room_is_passed_over(play):
    async def scenario(scene):
        full = ranked(SOLAR, NAMES)[0]
        scene.actors[full].is_full = True
        await scene.look(5)
        assert scene.holders(SOLAR) == sorted(set(NAMES) - {full})

    play(scenario)


def test_an_unloaded_checkpoint_stays_unloaded_until_the_services_tell(play):
    async def scenario(scene):
        await scene.look(4)
        await scene.manager.unload(SOLAR)
        await scene.look(3)
        assert scene.holders(SOLAR) == []

    play(scenario)


def test_without_a_limit_of_memory_nothing_is_placed(play):
    async def scenario(scene):
        await scene.look(3)
        assert scene.holders(SOLAR) == []

    play(scenario, max_model_bytes=None)
