"""The latencies that no service could go below: those of a device that does nothing but compute.

Requests that come at random wait for each other, however little the service around the device
costs. An ideal one takes all that waits whenever the device is free, and loses no time. Each of
several lanes takes its share of what waits, as fast as if it were alone.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence


def line_through(single_s: float, batch_s: float, batch: float) -> Callable[[int], float]:
    """Return how long a batch of n takes, by what one image took and what a batch of `batch` did.

    A batch of one size tells nothing of others: each image is then taken to cost the same.
    """
    if batch <= 1:
        return lambda n: n * single_s
    each = max(0.0, (batch_s - single_s) / (batch - 1))
    return lambda n: single_s + each * (n - 1)


def ideal_latencies(
    arrivals: Sequence[float], seconds_of: Callable[[int], float], most: int, lanes: int = 1
) -> list[float]:
    """Return how long each request waits and is computed, in seconds, in the order of `arrivals`.

    `arrivals` are times in seconds, ascending; batches are of `most` requests at most.
    """
    found: list[float] = []
    free = [0.0] * lanes
    while len(found) < len(arrivals):
        now = max(min(free), arrivals[len(found)])
        waiting = bisect_right(arrivals, now) - len(found)
        batch = arrivals[len(found) :][: min(most, math.ceil(waiting / lanes))]
        done = now + seconds_of(len(batch))
        free[free.index(min(free))] = done
        found += [done - at for at in batch]
    return found
