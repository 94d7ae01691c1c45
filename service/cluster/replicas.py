"""Which workers keep a checkpoint loaded, so that as many do as the settings say.

    replicas = Replicas({"solar": 2})
    replicas.look([solar], {"cpu/0": {solar}, "cpu/1": set()}, now=0.0)
    replicas.next_load()                                # (solar, "cpu/1")

Workers that have a checkpoint go before others that prefer it: so nothing is loaded twice. Images
may have it loaded on more workers; those unload it again for others.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from model.checkpoints.key import CheckpointKey
from service.cluster.placement import ranked

_AGAIN_S = 10.0
"""After a load, none of the same checkpoint on the same worker follows for so long."""

_AFTER_FAILURE_S = 60.0


@dataclass(slots=True)
class Replicas:
    """Decides at each look; times by any one clock."""

    targets: Mapping[str, int]
    _residents: Mapping[str, Collection[CheckpointKey]] = field(default_factory=dict, init=False)
    _keepers: dict[CheckpointKey, list[str]] = field(default_factory=dict, init=False)
    _paused: dict[tuple[CheckpointKey, str], float] = field(default_factory=dict, init=False)

    def look(
        self,
        wanted: Iterable[CheckpointKey],
        residents: Mapping[str, Collection[CheckpointKey]],
        now: float,
    ) -> None:
        """Take what the ready workers have loaded, and which checkpoints should be."""
        self._paused = {pair: until for pair, until in self._paused.items() if until > now}
        self._residents = residents
        self._keepers = {key: self._choose(key) for key in wanted if key.name in self.targets}

    def kept_by(self, worker: str) -> frozenset[CheckpointKey]:
        """Return the checkpoints that a worker should unload last."""
        return frozenset(key for key, workers in self._keepers.items() if worker in workers)

    def next_load(self) -> tuple[CheckpointKey, str] | None:
        """Return a checkpoint to load and its worker: first of those that the fewest have."""
        missing = [
            (key, worker)
            for key, workers in self._keepers.items()
            for worker in workers
            if key not in self._residents[worker]
        ]
        return min(missing, key=lambda pair: self._holders(pair[0]), default=None)

    def note_load(self, key: CheckpointKey, worker: str, now: float, *, failed: bool) -> None:
        """Note that a load has ended; if it failed, another worker is tried."""
        self._paused[key, worker] = now + (_AFTER_FAILURE_S if failed else _AGAIN_S)

    def pause(self, key: CheckpointKey, workers: Iterable[str], now: float) -> None:
        """Load a checkpoint nowhere for a while: it is unloaded, and services do not know yet."""
        for worker in workers:
            self._paused[key, worker] = now + _AGAIN_S

    def _choose(self, key: CheckpointKey) -> list[str]:
        candidates = [
            worker
            for worker in ranked(key, self._residents)
            if key in self._residents[worker] or (key, worker) not in self._paused
        ]
        candidates.sort(key=lambda worker: key not in self._residents[worker])
        return candidates[: self.targets[key.name]]

    def _holders(self, key: CheckpointKey) -> int:
        return sum(key in residents for residents in self._residents.values())
