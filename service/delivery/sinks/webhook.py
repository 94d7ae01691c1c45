"""The sink `webhook`: posts each message, signed, to an HTTP receiver.

The receiver checks `X-Mambaad-Signature`: `v1=` and the hex HMAC-SHA256 of
`X-Mambaad-Timestamp`, a dot, and the body.
"""

import hashlib
import hmac
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from service.cutting import Cutter
from service.delivery.message import Parcel
from service.delivery.sinks.certificates import CertificateUnusable, tls_context
from service.delivery.sinks.sink import (
    TAKEN,
    Held,
    Outcome,
    Place,
    Reason,
    Refused,
    SinkUnusable,
    Taken,
)
from service.settings.secrets import SecretUnreadable
from service.settings.sinks import WebhookSettings

TIMESTAMP_HEADER = "X-Mambaad-Timestamp"
SIGNATURE_HEADER = "X-Mambaad-Signature"

_NEVER = frozenset({400, 413, 415, 422})
"""Statuses of a message that the receiver can never take."""

_NEEDS_HELP = frozenset({401, 403, 404})
_MAX_ANSWER_BYTES = 64 * 2**10
_MAX_DETAIL = 300
_READ_AGAIN_S = 5.0
"""How long a secret is used before its file is read again."""


@dataclass(frozen=True, slots=True)
class _Secrets:
    """What was read from the files of secrets, and until when it is used."""

    secret: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    until: float

    @classmethod
    def read(cls, settings: WebhookSettings) -> Self:
        """Read the secret and the token. Raises `SecretUnreadable`."""
        token = settings.token()
        return cls(
            settings.secret().get_secret_value().encode(),
            {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
            time.monotonic() + _READ_AGAIN_S,
        )


class WebhookSink:
    """Posts messages one after the other over one connection; redirects are not followed."""

    def __init__(self, name: str, settings: WebhookSettings, place: Place) -> None:
        self._settings = settings
        self._stream: Any = None
        self._secrets: _Secrets | None = None
        self._cutter = Cutter(settings.timeout_s, self._descriptor)
        try:
            verify = tls_context(settings)
        except CertificateUnusable as error:
            raise SinkUnusable(f"the sink {name}: {error}") from error
        self._http = httpx.Client(
            headers={"User-Agent": f"mambaad/{place.node}", "Content-Type": "application/json"},
            verify=verify,
            timeout=settings.timeout_s,
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
            proxy=settings.proxy,
        )

    def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """Post parcels; return the outcomes up to the first that is held."""
        outcomes: list[Outcome] = []
        for parcel in parcels:
            outcomes.append(self._post(parcel))
            if isinstance(outcomes[-1], Held):
                self._secrets = None  # they may have been replaced
                break
        return outcomes

    def tend(self) -> Taken | Held | None:
        """Do nothing: a connection is opened for the next message."""
        return None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
        self._cutter.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._cutter.cut()

    def _post(self, parcel: Parcel) -> Outcome:
        try:
            headers = self._headers(parcel)
            with self._cutter.limited():
                status, answer_headers, text = self._exchange(parcel.body, headers)
        except SecretUnreadable as error:
            return Held(Reason.NOT_READY, str(error), needs_help=True)
        except (httpx.HTTPError, OSError) as error:
            return self._held(error)
        return _outcome(status, answer_headers, text)

    def _headers(self, parcel: Parcel) -> dict[str, str]:
        if self._secrets is None or time.monotonic() > self._secrets.until:
            self._secrets = _Secrets.read(self._settings)
        timestamp = str(int(time.time()))
        return {
            "Idempotency-Key": str(parcel.event.event_id),
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(self._secrets.secret, timestamp, parcel.body),
            **self._secrets.headers,
        }

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[int, httpx.Headers, str]:
        """Post a body; return the status, the headers, and the beginning of the answer's text."""
        request = self._http.build_request(
            "POST", self._settings.url, content=body, headers=headers,
            extensions={"trace": self._trace},
        )  # fmt: skip
        response = self._http.send(request, stream=True)
        try:
            answer = bytearray()
            for piece in response.iter_raw():
                answer += piece
                if len(answer) > _MAX_ANSWER_BYTES:  # the status says enough
                    break
        finally:
            response.close()
        return (
            response.status_code,
            response.headers,
            bytes(answer[:_MAX_DETAIL]).decode("utf-8", "replace"),
        )

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the connection's stream when httpx opens one, so that it can be cut."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]

    def _descriptor(self) -> int | None:
        connection = self._stream and self._stream.get_extra_info("socket")
        return int(connection.fileno()) if connection else None

    def _held(self, error: Exception) -> Held:
        if self._cutter.was_late or isinstance(error, httpx.TimeoutException):
            return Held(Reason.SILENT, f"no answer within {self._settings.timeout_s:g} s")
        detail = f"{type(error).__name__}: {error}"
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Held(Reason.DENIED, f"the receiver's certificate: {cause}", needs_help=True)
            cause = cause.__cause__ or cause.__context__
        return Held(Reason.UNREACHABLE, detail)


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a body.

    >>> sign(b"secret", "1700000000", b"{}")[:11]
    'v1=b8569b78'
    """
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _outcome(status: int, headers: httpx.Headers, text: str) -> Outcome:
    if 200 <= status < 300:
        return TAKEN
    detail = f"HTTP {status}: {' '.join(text.split())}".removesuffix(": ")
    if status in _NEVER:
        return Refused(detail)
    needs_help = status in _NEEDS_HELP or 300 <= status < 400
    return Held(_reason(status), detail, _retry_after_s(headers), needs_help=needs_help)


def _reason(status: int) -> Reason:
    if status in (401, 403):
        return Reason.DENIED
    return Reason.BUSY if status in (408, 409, 425, 429) or status >= 500 else Reason.NOT_READY


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds of a Retry-After; None without one that can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value[:9])
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is not None:
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None
