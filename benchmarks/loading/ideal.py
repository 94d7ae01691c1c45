"""The latencies that no service could go below: those of a device that does nothing but compute.

Requests that come at random wait for each other, however little the service around the device
costs. An ideal one takes all that waits whenever the device is free, and loses no time.
"""

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
    arrivals: Sequence[float], seconds_of: Callable[[int], float], most: int
) -> list[float]:
    """Return how long each request waits and is computed, in seconds, in the order of `arrivals`.

    `arrivals` are times in seconds, ascending; batches are of `most` requests at most.
    """
    found: list[float] = []
    now = 0.0
    while len(found) < len(arrivals):
        waiting = arrivals[len(found) : len(found) + most]
        now = max(now, waiting[0])
        batch = [at for at in waiting if at <= now]
        now += seconds_of(len(batch))
        found += [now - at for at in batch]
    return found
