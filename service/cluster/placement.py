"""Which workers should hold a checkpoint: rendezvous hashing, by names alone.

Every checkpoint ranks all workers by a hash of both names. Managers and services come to the same
ranks without asking each other, and a worker that comes or goes moves only its own checkpoints.

>>> ranked("bolts/1", ["cpu/0", "cpu/1", "cpu/2"])[0] in ("cpu/0", "cpu/1", "cpu/2")
True
"""

import hashlib
from collections.abc import Collection, Iterable

from model.checkpoints.key import CheckpointKey


def ranked(key: CheckpointKey | str, workers: Iterable[str]) -> list[str]:
    """Return the workers in the order in which a checkpoint prefers them."""
    return sorted(workers, key=lambda worker: (_weight(key, worker), worker))


def order_of_loads(
    worker: str, keys: Iterable[CheckpointKey], workers: Collection[str]
) -> tuple[CheckpointKey, ...]:
    """Return checkpoints in the order in which a worker should load them: as many as fit.

    Those that prefer this worker come first, so that all have a place before any has two.
    """

    def place(key: CheckpointKey) -> tuple[int, int]:
        return ranked(key, workers).index(worker), _weight(key, worker)

    return tuple(sorted(keys, key=place))


def _weight(key: CheckpointKey | str, worker: str) -> int:
    text = f"{key} {worker}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
