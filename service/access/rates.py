"""Rate limits: one token bucket per caller, in a table of bounded size."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_MAX_BUCKETS = 10_000
_IPV6_SITE = 64


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """Allows each caller `rate_per_s` requests a second on average, and a second's worth at once.

    Beyond `max_buckets` callers the least recent one is forgotten and starts with a full bucket.

    >>> rates = RateLimiter(clock=lambda: 0.0)
    >>> rates.take("line-1", rate_per_s=1.0), rates.take("line-1", rate_per_s=1.0)
    (0.0, 1.0)
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, max_buckets: int = _MAX_BUCKETS
    ) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, rate_per_s: float) -> float:
        """Count a request; return 0 if it is allowed, else the seconds to wait."""
        now, burst = self._clock(), max(1.0, rate_per_s)
        bucket = self._buckets.pop(caller, None) or _Bucket(burst, now)
        self._buckets[caller] = bucket
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.filled_at) * rate_per_s)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / rate_per_s
        bucket.tokens -= 1
        return 0.0

    def charge(self, caller: str, count: int) -> None:
        """Count further images of an admitted request; the bucket may become negative."""
        bucket = self._buckets.get(caller)
        if bucket is not None:
            bucket.tokens -= count

    def __len__(self) -> int:
        return len(self._buckets)


@lru_cache(maxsize=1024)
def caller_of_address(address: str) -> str:
    """Return an address's name for counting: an IPv4 address, or the /64 network of IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, _IPV6_SITE), strict=False))
