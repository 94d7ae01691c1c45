"""Sessions of browsers: a signed cookie that stands for an API key, or for nobody yet.

    sessions = Sessions(read_key(path, "sessions"), guard, settings)
    session = sessions.sign_in(secret)
    caller = sessions.identify(scope)

The cookie has the key's hash, never the key. The key is looked up again at each request, so that a
withdrawn key ends its sessions.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from service.access.guard import Caller, Guard
from service.access.keys import digest
from service.errors import Forbidden, Unauthenticated
from service.http.declaration import Scope, includes
from service.settings.console import ConsoleSettings

_SIGNER = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
_SALT = "mambaad console session"
_MAX_SECRET = 256
_RENEW_AFTER_S = 5
_IN_PLAIN = frozenset({Scope.READ, Scope.REVIEW})


@dataclass(frozen=True, slots=True)
class Session:
    """A browser; `key_sha256` is empty until it signs in. Times are seconds since 1970."""

    session_id: str
    key_sha256: str
    seen_at: int

    @property
    def is_signed_in(self) -> bool:
        """Whether the session stands for a key."""
        return bool(self.key_sha256)


class Sessions:
    """Reads and writes the cookies of sessions, and says who their callers are."""

    def __init__(
        self,
        key: bytes,
        guard: Guard,
        settings: ConsoleSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._guard = guard
        self._settings = settings
        self._clock = clock
        # A browser sends its cookies to every port of a host: each key has its own.
        self.cookie_name = f"mambaad_session_{self._sign('cookie')[:8]}"
        self._serializer = URLSafeSerializer(key, salt=_SALT, signer_kwargs=_SIGNER)

    @property
    def has_keys(self) -> bool:
        """Whether there are keys to sign in with."""
        return self._guard.has_keys

    def of(self, scope: MutableMapping[str, Any]) -> Session:
        """Return the session of a request's cookie; a new one without a valid cookie."""
        cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))
        try:
            session_id, key_sha256, seen_at = self._serializer.loads(
                cookies.get(self.cookie_name, "")
            )
            return Session(str(session_id), str(key_sha256), int(seen_at))
        except (BadSignature, TypeError, ValueError):
            return Session(secrets.token_urlsafe(18), "", 0)

    def sign_in(self, secret: str) -> Session | None:
        """Return a new session for a key; None if the key is unknown. Raises `KeysUnreadable`."""
        key_sha256 = digest(secret[:_MAX_SECRET])
        if self._guard.holder_of(key_sha256) is None:
            return None
        # A new id: whoever knew the earlier one knows no token of this session.
        return Session(secrets.token_urlsafe(18), key_sha256, int(self._clock()))

    def identify(self, scope: MutableMapping[str, Any]) -> Caller:
        """Return who a page's request comes from, with the scopes that it has over its connection.

        Raises as `Guard.identify`, also for a session whose key was withdrawn or that was idle.
        """
        session = self.of(scope)
        if session.is_signed_in:
            caller = self._holder_of(session)
        else:
            address = (scope.get("client") or ("",))[0]
            caller = self._guard.identify(scope["method"], Headers(scope=scope), address)
        return replace(caller, scopes=self._allowed(caller.scopes, scope))

    def renewed(self, session: Session) -> Session | None:
        """Return the session of a person's click now; None while its cookie is new enough."""
        now = int(self._clock())
        return replace(session, seen_at=now) if now - session.seen_at >= _RENEW_AFTER_S else None

    def write(self, session: Session) -> str:
        """Return the cookie's value."""
        content = [session.session_id, session.key_sha256, session.seen_at]
        return str(self._serializer.dumps(content))

    def token_of(self, session: Session) -> str:
        """Return the token that every change by this session must repeat."""
        return self._sign(f"csrf {session.session_id}")

    def check_token(self, session: Session, given: str) -> None:
        """Raise `Forbidden` for a change that another site may have sent."""
        if not hmac.compare_digest(self.token_of(session).encode(), given.encode()):
            raise Forbidden(
                "the request does not repeat this browser's token: load the page again, and try "
                "again from it"
            )

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def _holder_of(self, session: Session) -> Caller:
        caller = self._guard.holder_of(session.key_sha256)
        if caller is None:
            raise Unauthenticated("the API key of this session was withdrawn")
        idle_s = self._clock() - session.seen_at
        limit_s = self._settings.cookie_life_s
        if caller.scopes & {Scope.REVIEW, Scope.ADMIN}:
            limit_s = min(limit_s, self._settings.idle_timeout_s)
        if idle_s > limit_s:
            raise Unauthenticated(f"the session was idle for {idle_s:.0f} s")
        return caller

    def _allowed(
        self, scopes: frozenset[Scope], scope: MutableMapping[str, Any]
    ) -> frozenset[Scope]:
        """Return the scopes that a connection may use: without TLS, strangers can read along."""
        if self._settings.plain_http_admin or is_private(scope):
            return scopes
        reads = {Scope.READ} if includes(scopes, {Scope.READ}) else set()
        return (scopes & _IN_PLAIN) | reads


def is_private(scope: MutableMapping[str, Any]) -> bool:
    """Whether nobody can read along: the connection has TLS, or does not leave this machine."""
    if scope.get("scheme") == "https":
        return True
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False
