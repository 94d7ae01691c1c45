"""Notices a second station with the same topic or client id at one broker.

rivals = Rivals("plant/EL-3", client_id)
rivals.see_state(message)                     # of TOPIC/state: another station's?
rivals.explain_end(reason, connected_s=0.3)   # of a connection: did another client take it over?
"""

import logging
import secrets
import time

from model.bounded import strict_json
from service.station.plc.requests.broker import Message

logger = logging.getLogger("service.rivals")

_TAKEN_OVER = "taken over"
"""In the reason of MQTT 5, if the broker gives one; a connection by 3.1.1 ends without."""
_SHORT_S = 10.0
_MOST_SHORT = 3
_SAY_EVERY_S = 60.0


class Rivals:
    """Says in the log that there are two stations, once a minute."""

    def __init__(self, topic: str, client_id: str) -> None:
        self._topic = topic
        self._client_id = client_id
        self.run = secrets.token_hex(4)
        """Names this run of the station in its state."""
        self._short = 0
        self._says_at_s = {"state": 0.0, "client": 0.0}

    def see_state(self, message: Message) -> None:
        """Note a state; one that is online and of another run is another station's."""
        try:
            state = strict_json(message.payload, most_depth=4, most_values=100)
        except ValueError:
            return
        is_live = isinstance(state, dict) and state.get("online") and not message.is_retained
        if not is_live or state.get("run") == self.run:  # type: ignore[attr-defined]
            return
        self._say(
            "state",
            f"another station has the topic {self._topic} at this broker: each trigger is taken "
            "by both. Give each station a topic of its own (plc.mqtt.topic)",
        )

    def explain_end(self, reason: str, connected_s: float) -> bool:
        """Say that another client took the connection over; return False if none seems to.

        Not every broker says so: connections that end again and again look the same.
        """
        self._short = self._short + 1 if connected_s < _SHORT_S else 0
        if _TAKEN_OVER in reason.lower():
            certainty = "has"
        elif self._short >= _MOST_SHORT:
            certainty = "perhaps has"
        else:
            return False
        self._say(
            "client",
            f"another client {certainty} the client id {self._client_id}, and the broker ends this "
            f"connection for it ({reason}). Give each station a topic and a client id of its own "
            "(plc.mqtt.topic, plc.mqtt.client_id)",
        )
        return True

    def _say(self, kind: str, text: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._says_at_s[kind]:
            self._says_at_s[kind] = now_s + _SAY_EVERY_S
            logger.error(text)
