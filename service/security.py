"""Who is asking, may they, and not too often: checked before a byte of the body is read.

`Gate` is ASGI middleware and refuses by default: a route that nobody thought of needs a key too.
What a key is good for is said where a router is included, by `detect_scope` or `admin_scope`.
"""

import ipaddress
import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import keys
from service.errors import Forbidden, RateLimited, ServiceError, Unauthenticated
from service.keys import KeyRing
from service.logs import note
from service.metrics import Metrics
from service.middleware import problem_response, request_id_of
from service.problems import problem_of, retry_headers
from service.rates import RateLimiter, caller_of_address
from service.settings import Settings

METRICS_PATH = "/metrics"
DOCS_ASSETS = "/docs/assets"
_OPEN_PATHS = frozenset(
    {
        "/livez",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
        "/docs",
        "/openapi.json",
        f"{DOCS_ASSETS}/swagger-ui-bundle.js",
        f"{DOCS_ASSETS}/swagger-ui.css",
        f"{DOCS_ASSETS}/favicon.png",
    }
)
_AWS_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)/")
_EXPECTED = "expected Authorization: Bearer <key>, or X-API-Key: <key>"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key by its name, or an address without one."""

    name: str
    scopes: frozenset[keys.Scope]
    rate_per_s: float | None


class Guard:
    """Knows the callers by the settings: their keys, their rates, and whether one is needed."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read the keys file. Raises `KeysUnusable`."""
        self._metrics = metrics
        self._ring = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        self._needs_keys = settings.needs_keys
        self._anonymous_by_address = not settings.allow_anonymous
        self._rate_per_s = settings.rate_limit_per_s
        self._origins = frozenset(settings.cors_origins)
        self._rates = RateLimiter()

    def admit(self, method: str, headers: Headers, address: str) -> Caller:
        """Return who asks. Raises `Unauthenticated`, `Forbidden` or `RateLimited`."""
        caller = self._by_key(headers) or self._anonymous(method, headers, address)
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
        return caller

    def count_images(self, caller: Caller | None, count: int) -> None:
        """Count the images of a request beyond its first, which `admit` has counted."""
        if caller is not None and count > 1:
            self._rates.charge(caller.name, count - 1)

    def require(self, caller: Caller | None, scope: keys.Scope) -> None:
        """Raise `Forbidden` for a caller without the scope."""
        if caller is None:  # no `Gate` stood before the route
            raise self._unauthenticated("missing", f"no API key: {_EXPECTED}")
        if scope not in caller.scopes:
            self._metrics.unauthorized.labels("scope").inc()
            have = ", ".join(sorted(caller.scopes))
            raise Forbidden(f"{caller.name!r} has the scope {have}, and this needs {scope}")

    def _unauthenticated(self, reason: str, detail: str) -> Unauthenticated:
        self._metrics.unauthorized.labels(reason).inc()
        return Unauthenticated(detail)

    def _by_key(self, headers: Headers) -> Caller | None:
        if self._ring is None:
            return None
        secret, is_meant = _secret(headers)
        if secret is None:
            return None
        key = self._ring.find(secret)
        if key:
            return Caller(key.name, key.scopes, key.rate_per_s)
        if is_meant or self._needs_keys:
            raise self._unauthenticated("unknown", "the API key is not known, or not any more")
        return None

    def _anonymous(self, method: str, headers: Headers, address: str) -> Caller:
        if self._needs_keys:
            raise self._unauthenticated("missing", f"no API key: {_EXPECTED}")
        self._check_page(method, headers)
        # Where there are keys and none is needed, what changes the service still takes one.
        scopes = frozenset({keys.Scope.DETECT}) if self._ring else frozenset(keys.Scope)
        return Caller(f"anonymous@{caller_of_address(address)}", scopes, None)

    def _check_page(self, method: str, headers: Headers) -> None:
        """Refuse what a browser sends for some other site's page: it asks in its user's place."""
        host = headers.get("host", "")
        if self._anonymous_by_address and not _is_this_machine(host):
            raise Forbidden(
                f"the Host {host[:100]!r} is not this machine's: without keys, only localhost and "
                "addresses in numbers are served, unless MAMBAAD_ALLOW_ANONYMOUS is true"
            )
        origin = headers.get("origin")
        if origin is None or method in {"GET", "HEAD"} or origin in self._origins:
            return
        if origin.partition("://")[2] != host:
            raise Forbidden(f"pages of {origin[:100]!r} may not ask; see MAMBAAD_CORS_ORIGINS")


class Gate:
    """ASGI middleware that lets a request in once it is known who asks."""

    def __init__(self, app: ASGIApp, guard: Guard, metrics_require_key: bool = False) -> None:
        self._app = app
        self._guard = guard
        self._open = _OPEN_PATHS if metrics_require_key else _OPEN_PATHS | {METRICS_PATH}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] not in self._open:
            address = (scope.get("client") or ("",))[0]
            try:
                caller = self._guard.admit(scope["method"], Headers(scope=scope), address)
            except ServiceError as error:
                problem = problem_of(error, request_id_of(scope))
                await problem_response(problem, retry_headers(error))(scope, receive, send)
                return
            scope["state"]["caller"] = caller
            note(caller=caller.name)
        await self._app(scope, receive, send)


_BEARER = HTTPBearer(auto_error=False, description="an API key, as `mambaad keys new` prints it")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="the same in its own header")


async def detect_scope(
    request: Request, _bearer: object = Security(_BEARER), _header: object = Security(_HEADER)
) -> None:
    """Depend on this where images are inspected."""
    _require(request, keys.Scope.DETECT)


async def admin_scope(
    request: Request, _bearer: object = Security(_BEARER), _header: object = Security(_HEADER)
) -> None:
    """Depend on this where the service is changed."""
    _require(request, keys.Scope.ADMIN)


def _require(request: Request, scope: keys.Scope) -> None:
    guard: Guard = request.app.state.guard
    guard.require(request.scope["state"].get("caller"), scope)


def _secret(headers: Headers) -> tuple[str | None, bool]:
    """Return the key that was sent, and whether it was meant as one of ours.

    Amazon's clients sign with an access key's id, which is where a key of ours may stand.
    """
    authorization = headers.get("authorization", "")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip(), True
    credential = _AWS_CREDENTIAL.match(authorization)
    if credential:
        return credential[1], False
    return headers.get("x-api-key"), True


def _is_this_machine(host: str) -> bool:
    """Whether a Host header is one that no name server can point here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
