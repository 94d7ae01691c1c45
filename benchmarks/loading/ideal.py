"""The lower bound of latencies: those of a device that only computes.

Requests at random times wait for each other even in an infinitely fast service. An ideal service
starts all waiting requests whenever the device is free. With several lanes, each takes its share,
as fast as if it were alone.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence


def line_through(single_s: float, batch_s: float, batch: float) -> Callable[[int], float]:
    """Return the seconds of a batch of n, interpolated from one image and a batch of `batch`.

    If `batch` is at most 1, every image costs the same.
    """
    if batch <= 1:
        return lambda n: n * single_s
    slope = max(0.0, (batch_s - single_s) / (batch - 1))
    return lambda n: single_s + slope * (n - 1)


def ideal_latencies(
    arrivals: Sequence[float], seconds_of: Callable[[int], float], most: int, lanes: int = 1
) -> list[float]:
    """Return each request's seconds of waiting and computing, in the order of `arrivals`.

    `arrivals` are ascending times in seconds; batches have at most `most` requests.
    """
    latencies: list[float] = []
    free = [0.0] * lanes
    while len(latencies) < len(arrivals):
        now = max(min(free), arrivals[len(latencies)])
        waiting = bisect_right(arrivals, now) - len(latencies)
        batch = arrivals[len(latencies) :][: min(most, math.ceil(waiting / lanes))]
        done = now + seconds_of(len(batch))
        free[free.index(min(free))] = done
        latencies += [done - at for at in batch]
    return latencies
