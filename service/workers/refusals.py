"""Which checkpoints are not to be loaded for a while, and why."""

import asyncio
from collections import Counter

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable

_HOLDS_S = 5.0
_DEADLY = 2
"""After so many deaths in a row while loading a checkpoint, the next start leaves it out."""


class Refusals:
    """The failed loads of one worker, across its processes. Belongs to one event loop."""

    def __init__(self) -> None:
        # Why an image's load failed, and until when images are refused without another load.
        self._failures: dict[CheckpointKey, tuple[CheckpointUnavailable, float]] = {}
        self._deaths: Counter[CheckpointKey] = Counter()

    def hold(self, key: CheckpointKey, error: CheckpointUnavailable) -> None:
        """Refuse images of a checkpoint for some seconds without another load."""
        self._failures[key] = error, asyncio.get_running_loop().time() + _HOLDS_S

    def standing(self, key: CheckpointKey) -> CheckpointUnavailable | None:
        """Return why images of a checkpoint are refused without another load, if they are."""
        error, until = self._failures.get(key, (None, 0.0))
        return error if asyncio.get_running_loop().time() < until else None

    def count_death(self, key: CheckpointKey) -> None:
        """Count a process that died while it loaded a checkpoint."""
        self._deaths[key] += 1

    def clear_deaths(self, key: CheckpointKey) -> None:
        """Note that a process survived the load of a checkpoint."""
        del self._deaths[key]

    def deadly(self, key: CheckpointKey) -> str | None:
        """Return why no process may load a checkpoint at its start; None if it may."""
        deaths = self._deaths[key]
        return f"{deaths} worker processes died while loading it" if deaths >= _DEADLY else None
