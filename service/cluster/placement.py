"""Which workers should hold a checkpoint: rendezvous hashing, by names alone.

Every checkpoint ranks all workers by a hash of both names. Managers and services come to the same
ranks without asking each other, and a worker that comes or goes moves only its own checkpoints.

>>> ranked("bolts/1", ["cpu/0", "cpu/1", "cpu/2"])[0] in ("cpu/0", "cpu/1", "cpu/2")
True
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

from model.checkpoints.key import CheckpointKey


def ranked(key: CheckpointKey | str, workers: Iterable[str]) -> list[str]:
    """Return the workers in the order in which a checkpoint prefers them."""
    return sorted(workers, key=lambda worker: (_weight(key, worker), worker))


def order_of_loads(
    worker: str,
    keys: Iterable[CheckpointKey],
    workers: Collection[str],
    replicas: Mapping[str, int] | None = None,
) -> tuple[CheckpointKey, ...]:
    """Return checkpoints in the order in which a worker should load them: as many as fit.

    Those that prefer this worker come first, so that each has a place, or as many as `replicas`
    says, before any has another.
    """
    wanted = replicas or {}

    def place(key: CheckpointKey) -> tuple[int, int]:
        spare = ranked(key, workers).index(worker) - wanted.get(key.name, 1) + 1
        return max(0, spare), _weight(key, worker)

    return tuple(sorted(keys, key=place))


def _weight(key: CheckpointKey | str, worker: str) -> int:
    text = f"{key} {worker}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
