"""Who looks at which part now, so that two people who review at once get different ones.

    claims.take("browser-1", [first, second])
    claims.of_others("browser-2")  # {first, second}

In memory alone: without it, or on another node, a verdict still overwrites none that its author
did not see.
"""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

_LIFE_S = 90.0
_MAX_HOLDERS = 200


class Claims:
    """The parts that each browser shows or will show next, for 90 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_holder: dict[str, tuple[float, Sequence[UUID]]] = {}

    def take(self, holder: str, ids: Sequence[UUID]) -> None:
        """Claim parts, instead of those that the holder had before."""
        self._forget_old()
        self._of_holder.pop(holder, None)
        if ids and len(self._of_holder) < _MAX_HOLDERS:
            self._of_holder[holder] = (self._clock() + _LIFE_S, ids)

    def of_others(self, holder: str) -> set[UUID]:
        """Return the parts that others have claimed."""
        self._forget_old()
        return {
            identifier
            for name, (_, ids) in self._of_holder.items()
            if name != holder
            for identifier in ids
        }

    def _forget_old(self) -> None:
        now = self._clock()
        self._of_holder = {
            holder: claim for holder, claim in self._of_holder.items() if claim[0] > now
        }
