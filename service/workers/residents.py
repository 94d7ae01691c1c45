"""The table of one worker's loaded checkpoints: their sizes, times and metrics."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from model.checkpoints.key import CheckpointKey
from service.telemetry.metrics import Metrics
from service.workers.pipe.messages import LoadReport, Resident, WorkerStats


@dataclass(frozen=True, slots=True)
class ResidencyLimits:
    """The memory for weights, and the time-out of a load."""

    budget_bytes: int | None
    load_timeout_s: float


class Residents:
    """The checkpoints in the memory of one worker's process. Belongs to one event loop.

    Sizes and load times of unloaded checkpoints are kept, also across processes. Those in `kept`
    make room for others last.
    """

    def __init__(self, worker: str, budget_bytes: int | None, metrics: Metrics) -> None:
        self._worker = worker
        self._budget_bytes = budget_bytes
        self._metrics = metrics
        self._loaded: dict[CheckpointKey, Resident] = {}
        self._sizes: dict[CheckpointKey, int] = {}
        self._load_seconds: dict[CheckpointKey, float] = {}
        self.stats = WorkerStats()
        self.kept: frozenset[CheckpointKey] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self._loaded

    def __iter__(self) -> Iterator[CheckpointKey]:
        return iter(list(self._loaded))

    def __len__(self) -> int:
        return len(self._loaded)

    def __getitem__(self, key: CheckpointKey) -> Resident:
        return self._loaded[key]

    def load_s(self, key: CheckpointKey) -> float:
        """Return the seconds of a checkpoint's latest load; 0 if unknown."""
        return self._load_seconds.get(key, 0.0)

    def add(self, key: CheckpointKey, report: LoadReport, *, in_advance: bool = False) -> None:
        """Note a loaded checkpoint.

        A load `in_advance`, at low priority, says nothing about the seconds of the next one.
        """
        seconds = self._load_seconds.get(key, report.seconds) if in_advance else report.seconds
        now = asyncio.get_running_loop().time()
        self._loaded[key] = Resident(
            report.bytes, seconds, now, None, report.golden_difference, now, report.engine
        )
        self._sizes[key] = report.bytes
        self._load_seconds[key] = seconds
        labels = (self._worker, key.name, key.version)
        self._metrics.model_bytes.labels(*labels).set(report.bytes)
        if not in_advance:
            self._metrics.model_loads.labels(*labels, "loaded").inc()
            self._metrics.model_load_seconds.labels(*labels).set(report.seconds)

    def forget(self, key: CheckpointKey) -> None:
        """Note that a checkpoint is no longer loaded."""
        if self._loaded.pop(key, None):
            self._metrics.model_bytes.remove(self._worker, key.name, key.version)

    def touch(self, key: CheckpointKey) -> None:
        """Update the time of a checkpoint's last use."""
        if resident := self._loaded.get(key):
            now = asyncio.get_running_loop().time()
            self._loaded[key] = replace(resident, last_used=now)

    def note(self, stats: WorkerStats) -> None:
        """Publish the worker's measurements of itself."""
        self.stats = stats
        self._metrics.device_memory.labels(self._worker).set(stats.device_bytes)
        self._metrics.weights_bytes.labels(self._worker).set(stats.model_bytes)
        self._metrics.compute_seconds.labels(self._worker).inc(stats.compute_s)

    def expected_bytes(self, key: CheckpointKey) -> int:
        """Guess the bytes that a checkpoint adds: its earlier size, or the largest so far."""
        if key in self._loaded:
            return 0
        return self._sizes.get(key, max(self._sizes.values(), default=0))

    def has_room(self, nbytes: int) -> bool:
        """Whether so many bytes fit into the budget."""
        budget = self._budget_bytes
        return budget is None or self.stats.model_bytes + nbytes <= budget

    def fits_beside_kept(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint would fit if all others but the kept ones made room."""
        others = (k for k in self._loaded if k != key and k not in self.kept)
        freed = sum(self._loaded[other].bytes for other in others)
        return self.has_room(self.expected_bytes(key) - freed)

    def victim(
        self, but: CheckpointKey, is_busy: Callable[[CheckpointKey], bool]
    ) -> CheckpointKey | None:
        """Return the checkpoint that makes room: the least recently used, a busy or kept one last.

        None if no other than `but` is loaded.
        """
        others = (key for key in self._loaded if key != but)
        order = {k: (k in self.kept, is_busy(k), self._loaded[k].last_used) for k in others}
        return min(order, key=order.__getitem__, default=None)
