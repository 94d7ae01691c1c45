"""One connection to an MQTT broker, driven by the calling thread.

    session = MqttSession.connect(settings, client_id, will)
    message_id = session.publish(topic, body)
    session.pump(0.1)
    session.acknowledged[message_id]        # once the broker has answered

paho-mqtt's own loop uses `select`, which fails in a process with more than 1024 open files, and its
own reconnecting would send messages of the last connection after newer ones: so this module waits
with `selectors`, and a session ends with its connection.
"""

import selectors
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from service.delivery.sinks.certificates import tls_context
from service.settings.sinks import MqttSettings

_PROTOCOLS = {"5": mqtt.MQTTv5, "3.1.1": mqtt.MQTTv311}
_MISC_EVERY_S = 0.5


class ConnectionRefused(Exception):
    """The broker refused the connection; `code` is its reason."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"the broker refuses the connection: {name} (0x{code:02X})")
        self.code = code


class ConnectionEnded(Exception):
    """The connection broke, or the broker ended it; `code` is its reason, 0 without one."""

    def __init__(self, detail: str, code: int = 0) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Will:
    """A retained message that the broker publishes when the connection breaks."""

    topic: str
    payload: bytes


class MqttSession:
    """A connected client; its methods belong to one thread."""

    def __init__(self, settings: MqttSettings, client_id: str, will: Will | None) -> None:
        self._settings = settings
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if settings.protocol == "5" else True,
            protocol=_PROTOCOLS[settings.protocol],
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the sink counts them
        client.connect_timeout = settings.timeout_s
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        if settings.username is not None:
            password = settings.password()
            client.username_pw_set(
                settings.username, password.get_secret_value() if password else None
            )
        if settings.tls:
            client.tls_set_context(tls_context(settings))
        self._selector = selectors.DefaultSelector()
        self._misc_at = 0.0
        self._connack: tuple[int, str] | None = None
        self._end: tuple[int, str] | None = None
        self.acknowledged: dict[int, tuple[int, str]] = {}
        """Reason code and its name of each acknowledged message, by message id."""

        self.max_inflight = settings.max_inflight
        self.max_packet_bytes: int | None = None

    @classmethod
    def connect(cls, settings: MqttSettings, client_id: str, will: Will | None) -> "MqttSession":
        """Connect.

        Raises `OSError` (`TimeoutError` among them), `ConnectionRefused`, `ConnectionEnded`,
        `SecretUnreadable` or `CertificateUnusable`.
        """
        session = cls(settings, client_id, will)
        try:
            session._connect()
        except BaseException:
            session.drop()
            raise
        return session

    def _connect(self) -> None:
        until = time.monotonic() + self._settings.timeout_s
        self._client.connect(
            self._settings.host, self._settings.port_or_default, self._settings.keepalive_s
        )
        while self._connack is None:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no CONNACK within {self._settings.timeout_s:g} s")
            self.pump(left_s, until_connected=True)
        code, name = self._connack
        if code:
            raise ConnectionRefused(code, name)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send a message with QoS 1; return its id."""
        properties = None
        if self._settings.protocol == "5" and not retain:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.PayloadFormatIndicator = 1
            properties.ContentType = "application/json"
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc:
            raise ConnectionEnded(f"the connection broke: {mqtt.error_string(info.rc)}")
        return info.mid

    def pump(self, longest_s: float, *, until_connected: bool = False) -> None:
        """Exchange packets until something was received; wait for at most so long.

        Raises `ConnectionEnded`, and `ConnectionRefused` while connecting.
        """
        client = self._client
        socket = client.socket()
        failure = MQTTErrorCode.MQTT_ERR_NO_CONN
        if socket is not None:
            self._wait(socket, longest_s)
            failure = client.loop_read() or client.loop_write()
        if not failure and time.monotonic() >= self._misc_at:
            self._misc_at = time.monotonic() + _MISC_EVERY_S
            failure = client.loop_misc()
        if until_connected and self._connack is not None:
            return
        if failure or client.socket() is None:
            code, name = self._end or (0, mqtt.error_string(failure))
            raise ConnectionEnded(f"the connection ended: {name}", code)

    def _wait(self, socket: Any, longest_s: float) -> None:  # noqa: ANN401 - a socket of any kind
        """Wait until the socket can be read, or written if something is to be sent."""
        if getattr(socket, "pending", lambda: 0)():  # decrypted already
            return
        events = selectors.EVENT_READ
        if self._client.want_write():
            events |= selectors.EVENT_WRITE
        self._selector.register(socket, events)
        try:
            self._selector.select(max(0.0, min(longest_s, _MISC_EVERY_S)))
        finally:
            self._selector.unregister(socket)

    def disconnect(self) -> None:
        """Say goodbye, so that the will is not published, and close."""
        if self._client.is_connected():
            self._client.disconnect()
        self.drop()

    def drop(self) -> None:
        """Close without a word; the broker publishes the will."""
        socket = self._client.socket()
        if socket is not None:
            socket.close()
        self._selector.close()

    def _on_connect(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        self._connack = (_code(reason), str(reason))
        if properties is not None:
            window = getattr(properties, "ReceiveMaximum", self.max_inflight)
            self.max_inflight = min(self.max_inflight, window)
            self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)

    def _on_publish(
        self, _client: mqtt.Client, _data: object, mid: int, reason: ReasonCode,
        _properties: Properties,
    ) -> None:  # fmt: skip
        self.acknowledged[mid] = (_code(reason), str(reason))

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, flags: mqtt.DisconnectFlags,
        reason: ReasonCode, _properties: Properties | None,
    ) -> None:  # fmt: skip
        code = _code(reason) if flags.is_disconnect_packet_from_server else 0
        self._end = (code, str(reason))


def _code(reason: ReasonCode) -> int:
    """Return a reason code if it is a failure, else 0."""
    return int(reason.value) if reason.is_failure else 0
