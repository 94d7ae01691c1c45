"""MQTT: triggers and commands come as messages, with QoS 1, and so do the replies.

    TOPIC/trigger  TOPIC/command          to the station
    TOPIC/result                          of every part, once it is decided
    TOPIC/reply                           to commands, and to requests that are refused
    TOPIC/state                           retained; the last will says `"online": false`

A request with a response topic (MQTT 5) gets its reply there, with its correlation data. Results
wait on the station's disk while the broker is away.
"""

import asyncio
import base64
import json
import logging
import math
import re
import secrets
from collections.abc import Coroutine
from typing import Any

from service.station.machine.images import StationImage
from service.station.machine.states import Command
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.requests.broker import (
    BrokerAway,
    BrokerConnection,
    Message,
    WatchRefused,
    Will,
    password_of,
    tls_context,
)
from service.station.plc.requests.desk import Desk
from service.station.plc.requests.ledger import Entry, ReplyTo
from service.station.plc.requests.messages import (
    CommandRequest,
    RequestRefused,
    TriggerRequest,
    read_request,
    refusal_of,
    state_at_refusal,
)
from service.station.plc.requests.outbox import Outbox
from service.station.plc.requests.rivals import Rivals
from service.station.reports import PartReport
from service.station.settings.requests import MqttDoorSettings

logger = logging.getLogger("service.brokers")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_STABLE_S = 10.0
_CLOSE_S = 2.0
_MOST_REQUESTS = 256
_MOST_TOPIC_CHARACTERS = 1_000
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


class MqttDoor:
    """A client of the broker; see `PlcDoor`."""

    def __init__(self, settings: MqttDoorSettings, heard: Heard) -> None:
        self._settings = settings
        self._desk = Desk(settings, heard, self._deliver)
        self._trigger = f"{settings.topic}/trigger"
        self._command = f"{settings.topic}/command"
        self._connection: BrokerConnection | None = None
        self._client_id = settings.client_id or _NOT_IN_AN_ID.sub("_", f"station-{settings.topic}")
        self._connected_s = -math.inf
        self._keeping: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._rivals = Rivals(settings.topic, self._client_id)
        self._outbox = Outbox(settings.topic, self._desk, run=self._rivals.run)
        self._away_because = ""
        self._is_watch_refused = False
        self._watched: tuple[str, ...] = (self._topic("state"),)
        self._is_closing = False

    @property
    def address(self) -> str:
        """The broker's address, and the topic."""
        scheme = "mqtts" if self._settings.tls else "mqtt"
        return f"{scheme}://{self._settings.host}:{self._settings.port}/{self._settings.topic}"

    @property
    def clients(self) -> int:
        """1 while the station is connected to the broker."""
        return 0 if self._connection is None else 1

    async def check(self) -> str:
        """Connect and subscribe as another client, and publish nothing. Raises `DoorClosed`."""
        topics = (self._trigger, self._command)
        client_id = f"{self._client_id[:180]}-{secrets.token_hex(4)}"
        try:
            connection = await BrokerConnection.connect(self._settings, client_id, topics)
        except BrokerAway as error:
            raise DoorClosed(f"the broker cannot be used: {error}") from error
        await connection.close()
        return f"connected; subscribed to {' and '.join(topics)}; nothing was published"

    async def open(self) -> None:
        """Connect, now or as soon as the broker is there. Raises `DoorClosed`."""
        if self._settings.tls:
            tls_context(self._settings)
        password_of(self._settings)
        await self._desk.open()
        self._keeping = asyncio.create_task(self._stay_connected())

    def show(self, image: StationImage) -> None:
        """Note what the station shows, and publish it."""
        self._desk.see(image)
        self._outbox.publish_state()

    def told(self, report: PartReport) -> None:
        """Add the inspections to the part's answer."""
        self._desk.told(report)

    async def close(self) -> None:
        """Send all that is owed, for a moment; then disconnect."""
        await self._desk.finish()
        self._is_closing = True
        await self._outbox.drain(_CLOSE_S)
        await self._desk.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _stay_connected(self) -> None:
        """Connect again and again; say each reason why the broker is away once."""
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            reason = await self._connect_once()
            if loop.time() - began_s > _STABLE_S:
                pause_s = _FIRST_PAUSE_S
            if self._rivals.explain_end(reason, loop.time() - self._connected_s):
                self._away_because = ""
            elif reason != self._away_because:
                logger.warning("the broker %s is away: %s", self.address, reason)
                self._away_because = reason
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _connect_once(self) -> str:
        """Use one connection until it ends; return why it ended, or could not begin."""
        offline = json.dumps({"online": False}).encode()
        self._connected_s = -math.inf
        try:
            connection = await BrokerConnection.connect(
                self._settings, self._client_id, (self._trigger, self._command),
                watched=self._watched, hear=self._hear, acknowledged=self._outbox.acknowledge,
                will=Will(self._topic("state"), offline),
            )  # fmt: skip
        except (BrokerAway, DoorClosed) as error:
            if isinstance(error, WatchRefused) and self._is_watch_refused:  # a second time
                self._watched = ()
            self._is_watch_refused = isinstance(error, WatchRefused)
            return str(error)
        self._connected_s = asyncio.get_running_loop().time()
        if self._away_because:
            logger.warning("the broker %s is back", self.address)
            self._away_because = ""
        self._connection = connection
        self._outbox.begin(connection)
        try:
            reason = await asyncio.shield(connection.ended)
        finally:
            if self._is_closing:  # the state takes the place of the will
                await self._outbox.drain(_CLOSE_S)
            self._connection = None
            self._outbox.end()
            await connection.close()
        return f"the connection ended: {reason}"

    def _deliver(self, entry: Entry) -> None:
        self._outbox.add(entry)

    def _hear(self, message: Message) -> None:
        """Take a request, or note what another station says of itself."""
        if message.topic == self._topic("state"):
            self._rivals.see_state(message)
            return
        deletes_retained = message.is_retained and not message.payload
        if self._is_closing or deletes_retained:
            return
        if len(self._tasks) >= _MOST_REQUESTS:
            error = RequestRefused("not-ready", f"{_MOST_REQUESTS} requests wait for an answer")
            self._refuse(message, error, None)
            return
        self._start(self._handle(message))

    async def _handle(self, message: Message) -> None:
        request: TriggerRequest | CommandRequest | None = None
        try:
            reply_to = self._reply_to(message)
            request = self._read(message)
            if isinstance(request, TriggerRequest):
                await self._inspect(message, request, reply_to)
            elif request.code is Command.START_SINGLE_JOB:
                await self._inspect(message, request.trigger(), reply_to, by_command=True)
            else:
                answer = await self._desk.command(request)
                self._reply(message, answer.model_dump(mode="json"))
        except RequestRefused as error:
            self._refuse(message, error, request)

    def _read(self, message: Message) -> TriggerRequest | CommandRequest:
        """Return a message's request. Raises `RequestRefused`."""
        if message.is_retained:
            raise RequestRefused("invalid", "expected a message that is not retained")
        if message.topic == self._trigger:
            return read_request(TriggerRequest, message.payload)
        return read_request(CommandRequest, message.payload)

    async def _inspect(
        self, message: Message, trigger: TriggerRequest, reply_to: ReplyTo | None,
        *, by_command: bool = False,
    ) -> None:  # fmt: skip
        """Inspect a part; its first answer goes out by `_deliver`. Raises `RequestRefused`."""
        answer = await self._desk.inspect(trigger, reply_to, by_command=by_command)
        if answer.repeated:
            self._reply(message, answer.model_dump(mode="json"), self._topic("result"))

    def _reply_to(self, message: Message) -> ReplyTo | None:
        """Return where the reply goes. Raises `RequestRefused`."""
        topic = message.response_topic
        if topic is None:
            return None
        if not self._may_reply_to(topic):
            raise RequestRefused(
                "invalid", f"no reply can go to the response topic {topic[:100]!r}"
            )
        correlation = base64.b64encode(message.correlation or b"").decode()
        return {"topic": topic, "correlation": correlation}

    def _refuse(
        self,
        message: Message,
        error: RequestRefused,
        request: TriggerRequest | CommandRequest | None,
    ) -> None:
        state = state_at_refusal(error, self._desk.image)
        self._reply(message, {**refusal_of(error, request), "state": state})

    def _reply(self, message: Message, body: dict[str, Any], otherwise: str | None = None) -> None:
        """Publish a reply that nobody waits for longer than the connection lasts."""
        topic = message.response_topic
        if topic is None or not self._may_reply_to(topic):
            topic = otherwise or self._topic("reply")
        if self._connection is not None:
            content = json.dumps(body).encode()
            self._connection.publish(topic, content, correlation=message.correlation)

    def _may_reply_to(self, topic: str) -> bool:
        is_short = 0 < len(topic) <= _MOST_TOPIC_CHARACTERS
        is_ours = topic in (self._trigger, self._command, self._topic("state"))
        is_topic = is_short and topic.isprintable() and not set("+#") & set(topic)
        return is_topic and topic[0] != "$" and not is_ours

    def _topic(self, last: str) -> str:
        return f"{self._settings.topic}/{last}"

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
