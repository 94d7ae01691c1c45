"""What the MQTT door owes its broker: answers, until the broker has them, and the state.

outbox = Outbox("plant/EL-3", desk, run="5f0c")
outbox.begin(connection)     # publishes what is owed
outbox.add(entry)            # at once, or when the broker is back
"""

import asyncio
import base64
import json
import logging
from collections import deque
from contextlib import suppress

from service.station.plc.requests.broker import BrokerConnection
from service.station.plc.requests.desk import NOT_TAKEN, Desk
from service.station.plc.requests.ledger import Entry
from service.station.plc.requests.messages import RequestRefused, refusal_of, state_of

logger = logging.getLogger("service.outgoing")

_MOST_IN_FLIGHT = 8


class Outbox:
    """The desk's ledger has the answers; here are those that are on their way."""

    def __init__(self, topic: str, desk: Desk, run: str) -> None:
        self._topic = topic
        self._run = run
        self._desk = desk
        self._connection: BrokerConnection | None = None
        self._waiting: deque[Entry] = deque()
        self._not_taken: list[Entry] = []
        self._in_flight: dict[int, Entry] = {}
        self._state: bytes | None = None
        self._state_in_flight: int | None = None
        self._notes: set[asyncio.Task[None]] = set()

    def begin(self, connection: BrokerConnection) -> None:
        """Publish the state, and all answers that are owed."""
        self._connection = connection
        self._in_flight.clear()
        self._state = self._state_in_flight = None
        self._waiting = deque([*self._not_taken, *self._desk.undelivered()])
        self.publish_state()
        self._publish_waiting()

    def end(self) -> None:
        """Publish nothing until the next connection."""
        self._connection = None

    def add(self, entry: Entry) -> None:
        """Publish an answer, now or when the broker is back."""
        if entry.is_not_taken:
            self._not_taken.append(entry)
        if self._connection is not None:
            self._waiting.append(entry)
            self._publish_waiting()

    def publish_state(self) -> None:
        """Publish the newest state, unless an older one is on its way: it follows that one."""
        if self._connection is None or self._state_in_flight is not None:
            return
        state = json.dumps({**state_of(self._desk.image), "run": self._run}).encode()
        if state != self._state:
            self._state = state
            topic = f"{self._topic}/state"
            self._state_in_flight = self._connection.publish(topic, state, retain=True)

    def acknowledge(self, message_id: int, refusal: str | None) -> None:
        """Note that the broker has a message; if it refuses one, the answer stays owed."""
        if message_id == self._state_in_flight:
            self._state_in_flight = None
            self.publish_state()
        entry = self._in_flight.pop(message_id, None)
        if refusal is not None:
            logger.error("the broker refuses a message of the station: %s", refusal)
        elif entry is not None and entry not in self._in_flight.values():
            self._note_delivered(entry)
        self._publish_waiting()

    async def drain(self, longest_s: float) -> None:
        """Wait until the broker has everything, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while self._connection is not None and not self._is_drained():
                    await asyncio.sleep(0.005)
                await asyncio.gather(*self._notes)

    def _is_drained(self) -> bool:
        assert self._connection is not None
        is_sent = not self._waiting and not self._in_flight and self._state_in_flight is None
        return is_sent or self._connection.ended.done()

    def _note_delivered(self, entry: Entry) -> None:
        if entry in self._not_taken:
            self._not_taken.remove(entry)
        task = asyncio.create_task(self._desk.delivered(entry))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    def _publish_waiting(self) -> None:
        while self._connection is not None and self._waiting:
            if len(self._in_flight) >= _MOST_IN_FLIGHT:
                return
            self._publish(self._connection, self._waiting.popleft())

    def _publish(self, connection: BrokerConnection, entry: Entry) -> None:
        """Publish an answer; it is delivered when its last message is acknowledged."""
        reply_to = entry.reply_to or {}
        topics = [f"{self._topic}/result"]
        if entry.answer is not None:
            content = entry.answer.model_dump_json().encode()
        else:
            refusal = refusal_of(RequestRefused("not-taken", NOT_TAKEN), entry.request)
            content = json.dumps(refusal).encode()
            topics = [] if "topic" in reply_to else [f"{self._topic}/reply"]
        for topic in topics:
            self._in_flight[connection.publish(topic, content)] = entry
        if "topic" in reply_to:
            correlation = base64.b64decode(reply_to["correlation"]) or None
            message_id = connection.publish(reply_to["topic"], content, correlation=correlation)
            self._in_flight[message_id] = entry
