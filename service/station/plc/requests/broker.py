"""One connection to an MQTT broker, which ends with the first failure.

    connection = await BrokerConnection.connect(settings, "EL-3", topics, hear, acknowledged)
    message_id = connection.publish("plant/EL-3/state", b"{}", retain=True)
    reason = await connection.ended

paho-mqtt's thread does the I/O; every callback comes in the event loop. A session begins clean: the
broker keeps no triggers for a station that is away. A connection is never used again after it has
ended, because paho-mqtt would send messages of the last one after newer ones.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from model.bounded import read_regular
from service.station.plc.door import DoorClosed
from service.station.settings.requests import MqttDoorSettings

_PROTOCOLS = {"5": mqtt.MQTTv5, "3.1.1": mqtt.MQTTv311}
_SEND_NO_RETAINED = 2
_MOST_PASSWORD_BYTES = 65_536
_NO_ANSWER = "perhaps it wants TLS, or a client's certificate"


class BrokerAway(Exception):
    """The broker does not answer, or refuses the station; the message says why."""


class WatchRefused(BrokerAway):
    """The broker cut the connection, because it lets the station not watch a topic."""


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker delivered; `response_topic` and `correlation` exist in MQTT 5 alone."""

    topic: str
    payload: bytes
    is_retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """A retained message that the broker publishes when the connection breaks."""

    topic: str
    payload: bytes


class BrokerConnection:
    """Connected and subscribed; `connect` makes one.

    `hear` gets each message, `acknowledged` the id of each published one with the broker's reason
    if it refuses that.
    """

    def __init__(
        self,
        settings: MqttDoorSettings,
        client_id: str,
        hear: Callable[[Message], None],
        acknowledged: Callable[[int, str | None], None],
        will: Will | None,
    ) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._hear = hear
        self._acknowledged = acknowledged
        self.ended: asyncio.Future[str] = self._loop.create_future()
        """Why the connection has ended."""
        self._answer: asyncio.Future[str | None] = self._loop.create_future()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if settings.protocol == "5" else True,
            protocol=_PROTOCOLS[settings.protocol],
            reconnect_on_failure=False,
        )
        client.connect_timeout = settings.timeout_ms / 1_000
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        if settings.user is not None:
            client.username_pw_set(settings.user, password_of(settings))
        if settings.tls:
            client.tls_set_context(tls_context(settings))

    @classmethod
    async def connect(
        cls,
        settings: MqttDoorSettings,
        client_id: str,
        topics: Sequence[str],
        *,
        watched: Sequence[str] = (),
        hear: Callable[[Message], None] = lambda message: None,
        acknowledged: Callable[[int, str | None], None] = lambda message_id, refusal: None,
        will: Will | None = None,
    ) -> Self:
        """Connect and subscribe. Raises `BrokerAway`, or `DoorClosed` for unreadable files.

        A broker may refuse to have topics `watched`; it must not refuse `topics`.
        """
        connection = cls(settings, client_id, hear, acknowledged, will)
        try:
            async with asyncio.timeout(settings.timeout_ms / 1_000):
                await connection._open(topics)
                await connection._watch(watched)
        except BaseException as error:
            await connection.drop()
            if isinstance(error, TimeoutError):
                raise BrokerAway("no answer in time") from error
            if isinstance(error, OSError):
                raise BrokerAway(str(error) or type(error).__name__) from error
            raise
        return connection

    async def _open(self, topics: Sequence[str]) -> None:
        client, settings = self._client, self._settings
        await asyncio.to_thread(client.connect, settings.host, settings.port, settings.keepalive_s)
        client.loop_start()
        try:
            await self._no_refusal("the connection")
        except BrokerAway as error:
            if self._answer.done():
                raise
            raise BrokerAway(f"{error}; {_NO_ANSWER}") from error
        for topic in topics:
            self._subscribe(topic, shows_retained=True)
            await self._no_refusal(f"the subscription of {topic}")

    async def _watch(self, topics: Sequence[str]) -> None:
        """Subscribe to topics that the station can do without. Raises `WatchRefused`."""
        for topic in topics:
            self._subscribe(topic, shows_retained=False)
            try:
                await self._no_refusal(f"the subscription of {topic}")
            except BrokerAway as error:
                if self.ended.done():
                    raise WatchRefused(str(error)) from error

    def _subscribe(self, topic: str, *, shows_retained: bool) -> None:
        """Subscribe; by `shows_retained` a message says whether its sender had it retained."""
        self._answer = self._loop.create_future()
        if self._settings.protocol != "5":
            self._client.subscribe(topic, qos=1)
            return
        options = SubscribeOptions(
            qos=1, noLocal=True, retainAsPublished=shows_retained, retainHandling=_SEND_NO_RETAINED
        )
        self._client.subscribe(topic, options=options)

    async def _no_refusal(self, what: str) -> None:
        """Wait for the broker's answer. Raises `BrokerAway` if it refuses."""
        futures: list[asyncio.Future[Any]] = [self._answer, self.ended]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        refusal = self._answer.result() if self._answer.done() else self.ended.result()
        if refusal is not None:
            raise BrokerAway(f"the broker refuses {what}: {refusal}")

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None
    ) -> int:
        """Send a message with QoS 1; return its id. Raises `ValueError` for an impossible topic."""
        properties = None
        if self._settings.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.PayloadFormatIndicator = 1
            properties.ContentType = "application/json"
            if correlation is not None:
                properties.CorrelationData = correlation
        return self._client.publish(topic, payload, 1, retain, properties).mid

    async def close(self) -> None:
        """Say goodbye, so that the will is not published, and close."""
        with suppress(OSError):
            self._client.disconnect()
        await self.drop()

    async def drop(self) -> None:
        """Close."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._client.loop_stop()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    # Called by paho-mqtt, in its thread

    def _on_connect(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:  # fmt: skip
        self._call(_set, self._answer, _refusal(reason))

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:  # fmt: skip
        self._call(_set, self._answer, _refusal(reasons[0]))

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        properties = message.properties
        self._call(
            self._hear,
            Message(
                message.topic,
                bytes(message.payload),
                message.retain,
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            ),
        )

    def _on_publish(
        self, _client: mqtt.Client, _data: object, mid: int, reason: ReasonCode,
        _properties: Properties,
    ) -> None:  # fmt: skip
        self._call(self._acknowledged, mid, _refusal(reason))

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:  # fmt: skip
        self._call(_set, self.ended, str(reason))

    def _call(self, callback: Callable[..., None], *values: Any) -> None:  # noqa: ANN401
        self._loop.call_soon_threadsafe(callback, *values)


def tls_context(settings: MqttDoorSettings) -> ssl.SSLContext:
    """Return a context that checks the broker. Raises `DoorClosed`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:
        files = (settings.ca_file, settings.certificate_file, settings.key_file)
        names = " or ".join(str(file) for file in files if file is not None) or "the system's"
        reason = error.strerror or error
        raise DoorClosed(f"the certificate cannot be read from {names}: {reason}") from error
    return context


def password_of(settings: MqttDoorSettings) -> str | None:
    """Return the user's password. Raises `DoorClosed`."""
    file = settings.password_file
    if file is None:
        return None
    try:
        return read_regular(file, _MOST_PASSWORD_BYTES)[0].decode("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise DoorClosed(f"the password in {file} cannot be read: {error}") from error


def _send_at_once(_client: mqtt.Client, _data: object, connection: Any) -> None:  # noqa: ANN401
    """Send a result before the acknowledgement of the state that precedes it (40 ms)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _set(future: "asyncio.Future[Any]", value: str | None) -> None:
    if not future.done():
        future.set_result(value)


def _refusal(reason: ReasonCode) -> str | None:
    return f"{reason} (0x{int(reason.value):02X})" if reason.is_failure else None
