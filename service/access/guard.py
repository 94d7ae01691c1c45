"""Identifies callers by key or address, and limits their rate."""

import ipaddress
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.access.key_ring import KeyRing, Keys
from service.access.keys import ApiKey
from service.access.rates import RateLimiter, caller_of_address
from service.errors import Forbidden, RateLimited, Unauthenticated
from service.http.declaration import Scope, includes
from service.settings.access import AccessSettings
from service.telemetry.metrics import Metrics

_AWS_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)/")
_EXPECTED = "expected Authorization: Bearer <key>, or X-API-Key: <key>"


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, named by its key or its address."""

    name: str
    scopes: frozenset[Scope]
    rate_per_s: float | None


class Guard:
    """Admits callers according to the settings.

    caller = guard.identify("POST", headers, "192.0.2.7")
    guard.count_request(caller)
    guard.require(caller, {Scope.DETECT})
    """

    def __init__(
        self,
        settings: AccessSettings,
        metrics: Metrics,
        *,
        needs_keys: bool,
        keys: Keys | None = None,
    ) -> None:
        """Read the keys file, unless `keys` are given. Raises `KeysUnusable`."""
        self._metrics = metrics
        self._ring = keys
        if keys is None and settings.api_keys_file:
            self._ring = ring = KeyRing(settings.api_keys_file, settings.keys_grace_s)
            metrics.keys_file_unread.set_function(ring.unread_s)
        self._counted: tuple[ApiKey, ...] = ()
        self._count_keys()
        self._needs_keys = needs_keys
        self._anonymous_by_address = not settings.allow_anonymous
        self._rate_per_s = settings.rate_limit_per_s
        self._origins = frozenset(settings.cors_origins)
        self._rates = RateLimiter()
        self._used_at: dict[str, datetime] = {}

    def identify(self, method: str, headers: Headers, address: str) -> Caller:
        """Return the sender of a request.

        Raises `Unauthenticated`, `Forbidden` or `KeysUnreadable`.
        """
        return self._by_key(headers) or self._anonymous(method, headers, address)

    def holder_of(self, key_sha256: str) -> Caller | None:
        """Return who has the key with this hash; None if it was withdrawn.

        Raises `KeysUnreadable`.
        """
        key = self._ring.find_digest(key_sha256) if self._ring else None
        self._count_keys()
        return self._caller_of(key) if key else None

    def last_used(self, key: ApiKey) -> datetime | None:
        """Return when a key was last sent; None if not since the service started."""
        return self._used_at.get(key.sha256)

    @property
    def has_keys(self) -> bool:
        """Whether there is a place for keys, so that a caller can name one."""
        return self._ring is not None

    def count_request(self, caller: Caller) -> None:
        """Count a request that inspects, as one image. Raises `RateLimited`."""
        rate = caller.rate_per_s or self._rate_per_s
        wait_s = self._rates.take(caller.name, rate) if rate else 0.0
        if wait_s:
            label = self._metrics.key_label(caller.name.partition("@")[0])
            self._metrics.rate_limited.labels(label).inc()
            seconds = math.ceil(wait_s)
            raise RateLimited(
                f"{caller.name!r} may send {rate:g} images a second; try again in {seconds} s",
                seconds,
            )

    def count_images(self, caller: Caller | None, count: int) -> None:
        """Count a request's images; `count_request` has counted the first one."""
        if caller is not None and count > 1:
            self._rates.charge(caller.name, count - 1)

    def require(self, caller: Caller | None, scopes: Collection[Scope]) -> None:
        """Raise `Forbidden` for a caller with none of the scopes; without any, all may pass."""
        if caller is None:  # the request did not pass `Gate`
            raise self._unauthenticated("missing", f"no API key: {_EXPECTED}")
        if not includes(caller.scopes, scopes):
            self._metrics.unauthorized.labels("scope").inc()
            have, needed = ", ".join(sorted(caller.scopes)), " or ".join(sorted(scopes))
            raise Forbidden(f"{caller.name!r} has the scope {have}, but this needs {needed}")

    def _unauthenticated(self, reason: str, detail: str) -> Unauthenticated:
        self._metrics.unauthorized.labels(reason).inc()
        return Unauthenticated(detail)

    def _count_keys(self) -> None:
        """Export the refusals of every key at 0 after the keys were read."""
        keys = self._ring.keys if self._ring else ()
        if keys is not self._counted:
            self._counted = keys
            self._metrics.expect_keys(key.name for key in keys)

    def _caller_of(self, key: ApiKey) -> Caller:
        self._used_at[key.sha256] = datetime.now(UTC)
        return Caller(key.name, key.scopes, key.rate_per_s)

    def _by_key(self, headers: Headers) -> Caller | None:
        if self._ring is None:
            return None
        secret, is_meant = _secret(headers)
        if secret is None:
            return None
        key = self._ring.find(secret)
        self._count_keys()
        if key:
            return self._caller_of(key)
        if is_meant or self._needs_keys:
            raise self._unauthenticated("unknown", "the API key is unknown or was removed")
        return None

    def _anonymous(self, method: str, headers: Headers, address: str) -> Caller:
        if self._needs_keys:
            raise self._unauthenticated("missing", f"no API key: {_EXPECTED}")
        self._check_page(method, headers)
        # If there are keys but none is needed, changes of the service still need one.
        scopes = frozenset({Scope.DETECT}) if self._ring else frozenset(Scope)
        return Caller(f"anonymous@{caller_of_address(address)}", scopes, None)

    def _check_page(self, method: str, headers: Headers) -> None:
        """Refuse requests that a browser sends for another site's page."""
        host = headers.get("host", "")
        if self._anonymous_by_address and not _is_this_machine(host):
            raise Forbidden(
                f"the Host {host[:100]!r} is not localhost or an IP address: without keys, the "
                "service answers no other host unless MAMBAAD_ACCESS__ALLOW_ANONYMOUS is true"
            )
        origin = headers.get("origin")
        if origin is None or method in {"GET", "HEAD"} or origin in self._origins:
            return
        if origin.partition("://")[2] != host:
            raise Forbidden(
                f"pages of {origin[:100]!r} may not send requests: add the origin to "
                "MAMBAAD_ACCESS__CORS_ORIGINS"
            )


def _secret(headers: Headers) -> tuple[str | None, bool]:
    """Return the sent key, and whether it is certainly meant for this service.

    Amazon's clients send an access key id in their signature, which may hold a key of this service.
    """
    authorization = headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), True
    credential = _AWS_CREDENTIAL.match(authorization)
    if credential:
        return credential[1], False
    return headers.get("x-api-key"), True


@lru_cache(maxsize=256)  # clients send the same few
def _is_this_machine(host: str) -> bool:
    """Whether a Host header is localhost or an IP address, which no name server can redirect."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
