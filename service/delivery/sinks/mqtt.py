"""The sink `mqtt`: publishes each message with QoS 1, and the service's state with a last will."""

import logging
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from service.delivery.message import Parcel
from service.delivery.sinks.certificates import CertificateUnusable, tls_context
from service.delivery.sinks.mqtt_session import (
    ConnectionEnded,
    ConnectionRefused,
    MqttSession,
    Will,
)
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
from service.delivery.sinks.topics import fill
from service.settings.secrets import SecretUnreadable
from service.settings.sinks import MqttSettings

logger = logging.getLogger("service.mqtt")

_ONLINE, _OFFLINE = b"online", b"offline"
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]")
_NEVER = {0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid"}
"""Reason codes of a message that the broker can never take."""

_NEEDS_HELP = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x9A, 0x9B})
"""Reason codes that a retry does not change: access, client id, version, another client."""

_OVERHEAD_BYTES = 100
"""More than the header and properties of a packet take."""


_UNREADABLE = (SecretUnreadable, CertificateUnusable)
_ABORTED = Held(Reason.BROKEN, "the service stops")


class MqttSink:
    """Publishes messages; by default, one of each station is not yet acknowledged.

    So a station's messages first arrive in order, whatever the broker refuses in between.
    """

    def __init__(self, name: str, settings: MqttSettings, place: Place) -> None:
        self._settings = settings
        self._fixed = {"site": place.site, "service": place.service, "node": place.node}
        default_id = _NOT_IN_AN_ID.sub("_", f"mambaad-{place.site}-{place.node}-{name}")
        self._client_id = settings.client_id or default_id
        self._state_topic = settings.state_topic and fill(settings.state_topic, self._fixed)
        self._session: MqttSession | None = None
        self._aborted = threading.Event()
        self._is_careful = False
        if settings.tls:
            try:
                tls_context(settings)
            except CertificateUnusable as error:
                raise SinkUnusable(f"the sink {name}: {error}") from error
        if settings.protocol == "3.1.1":
            logger.warning(
                "the sink %s uses MQTT 3.1.1: if the broker's access list denies a message, it "
                "looks delivered, and is lost; use protocol 5 if the broker knows it", name,
            )  # fmt: skip

    def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """Publish parcels; return the outcomes up to the first that is held."""
        self._aborted.clear()
        window = _Window(self._settings, self._fixed, parcels)
        held = self._trying(lambda session: self._exchange(session, window))
        if held is not None and len(window.inflight) == 1 and window.end_code in _NEVER:
            (index,) = window.inflight.values()
            window.outcomes[index] = Refused(f"the broker: {_NEVER[window.end_code]}")
        self._is_careful = held is not None
        return window.prefix(held or window.failure or _ABORTED)

    def tend(self) -> Taken | Held | None:
        """Keep the connection alive, and connect if there is none."""
        return self._trying(lambda session: session.pump(0.0)) or TAKEN

    def close(self) -> None:
        """Say that the service is offline, and disconnect."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            self._say(session, _OFFLINE)
            session.disconnect()
        except (OSError, ConnectionEnded):
            session.drop()

    def abort(self) -> None:
        """Make `deliver` return."""
        self._aborted.set()

    def _trying(self, use: Callable[[MqttSession], None]) -> Held | None:
        """Use a connected session; return why that failed, and forget the session then."""
        try:
            if self._session is None:
                self._session = self._connected()
            use(self._session)
        except (OSError, ConnectionEnded, ConnectionRefused, *_UNREADABLE) as error:
            if self._session is not None:
                self._session.drop()
                self._session = None
            return _held(error)
        return None

    def _connected(self) -> MqttSession:
        """Connect, and say that the service is online."""
        will = Will(self._state_topic, _OFFLINE) if self._state_topic else None
        session = MqttSession.connect(self._settings, self._client_id, will)
        try:
            self._say(session, _ONLINE)
        except BaseException:
            session.drop()
            raise
        return session

    def _say(self, session: MqttSession, state: bytes) -> None:
        """Publish the service's state, retained; if the broker denies that, results still go."""
        if not self._state_topic:
            return
        mid = session.publish(self._state_topic, state, retain=True)
        until = time.monotonic() + self._settings.timeout_s
        while mid not in session.acknowledged:
            if time.monotonic() >= until:
                raise TimeoutError(f"no PUBACK within {self._settings.timeout_s:g} s")
            session.pump(until - time.monotonic())
        code, name = session.acknowledged.pop(mid)
        if code:
            logger.warning("the broker refuses %s: %s (0x%02X)", self._state_topic, name, code)

    def _exchange(self, session: MqttSession, window: "_Window") -> None:
        """Publish what may be published, and take acknowledgements, until all is done."""
        most = 1 if self._is_careful else session.max_inflight
        window.max_packet_bytes = session.max_packet_bytes
        try:
            while window.publish(session, most) and not self._aborted.is_set():
                session.pump(window.left_s())
                window.acknowledge(session)
        except ConnectionEnded as error:
            window.acknowledge(session)
            window.end_code = error.code
            raise


class _Window:
    """Parcels on their way: which may be published, which are not yet acknowledged."""

    def __init__(
        self, settings: MqttSettings, fixed: dict[str, str], parcels: Sequence[Parcel]
    ) -> None:
        self._settings = settings
        self._fixed = fixed
        self._parcels = parcels
        self._waiting = list(range(len(parcels)))
        self._sent_at: dict[int, float] = {}
        self.inflight: dict[int, int] = {}
        """Index of the parcel, by message id."""

        self.outcomes: list[Outcome | None] = [None] * len(parcels)
        self.failure: Held | None = None
        self.end_code = 0
        self.max_packet_bytes: int | None = None

    def publish(self, session: MqttSession, most: int) -> bool:
        """Publish what may be in flight beside what is; return whether anything is in flight."""
        of_station = Counter(self._parcels[n].event.station for n in self.inflight.values())
        if self.failure is None:
            for index in list(self._waiting):
                station = self._parcels[index].event.station
                if len(self.inflight) >= most:
                    break
                if of_station[station] < self._settings.max_inflight_of_station:
                    self._waiting.remove(index)
                    of_station[station] += self._send(session, index)
        return bool(self.inflight)

    def _send(self, session: MqttSession, index: int) -> bool:
        """Publish a parcel, or refuse it; return whether it was published."""
        parcel = self._parcels[index]
        topic = self._topic(parcel)
        size = len(parcel.body) + len(topic.encode()) + _OVERHEAD_BYTES
        if self.max_packet_bytes is not None and size > self.max_packet_bytes:
            self.outcomes[index] = Refused(
                f"the message has {size} bytes; the broker takes {self.max_packet_bytes}"
            )
            return False
        try:
            mid = session.publish(topic, parcel.body)
        except ValueError as error:
            self.outcomes[index] = Refused(f"the message cannot be published: {error}")
            return False
        self.inflight[mid] = index
        self._sent_at[mid] = time.monotonic()
        return True

    def _topic(self, parcel: Parcel) -> str:
        inspection = parcel.inspection
        values = {
            **self._fixed,
            "station": parcel.event.station,
            "kind": parcel.event.kind.value,
            "category": inspection.category if inspection else None,
            "decision": inspection.told.value if inspection else None,
        }
        return fill(self._settings.topic, values)

    def acknowledge(self, session: MqttSession) -> None:
        """Take what was acknowledged."""
        for mid in [mid for mid in self.inflight if mid in session.acknowledged]:
            index = self.inflight.pop(mid)
            code, name = session.acknowledged.pop(mid)
            outcome = _outcome(code, name, self._topic(self._parcels[index]))
            self.outcomes[index] = outcome
            if isinstance(outcome, Held):
                self.failure = self.failure or outcome

    def left_s(self) -> float:
        """Return the seconds until the first acknowledgement is late. Raises `TimeoutError`."""
        first = min(self._sent_at[mid] for mid in self.inflight)
        left_s = first + self._settings.timeout_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no PUBACK within {self._settings.timeout_s:g} s")
        return left_s

    def prefix(self, held: Held | None) -> list[Outcome]:
        """Return the outcomes up to the first parcel that is not done."""
        done: list[Outcome] = []
        for outcome in self.outcomes:
            if outcome is None or isinstance(outcome, Held):
                last = outcome or held
                return [*done, last] if last else done
            done.append(outcome)
        return done


def _outcome(code: int, name: str, topic: str) -> Outcome:
    """Return what a PUBACK's reason code means."""
    if not code:
        return TAKEN
    detail = f"the broker refuses a message to {topic[:200]}: {name} (0x{code:02X})"
    if code in _NEVER:
        return Refused(detail)
    return Held(_reason(code), detail, needs_help=code in _NEEDS_HELP)


def _held(error: Exception) -> Held:
    """Return what an error of the connection means."""
    detail = str(error) or type(error).__name__
    if isinstance(error, ConnectionRefused | ConnectionEnded):
        if error.code == 0x8E:
            detail += ": another client has the same client_id"
        return Held(_reason(error.code), detail, needs_help=error.code in _NEEDS_HELP)
    if isinstance(error, _UNREADABLE):
        return Held(Reason.NOT_READY, detail, needs_help=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Held(Reason.DENIED, f"the broker's certificate: {detail}", needs_help=True)
    if isinstance(error, TimeoutError):
        return Held(Reason.SILENT, detail)
    return Held(Reason.UNREACHABLE, detail)


def _reason(code: int) -> Reason:
    if code in _NEEDS_HELP:
        return Reason.DENIED
    return Reason.BUSY if code else Reason.UNREACHABLE
