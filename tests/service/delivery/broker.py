"""A real mosquitto on loopback, in a temporary folder, and a listener that notes what it gets."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.programs import program

_CONFIGURATION = """\
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
autosave_interval 1
max_queued_messages 100000
max_inflight_messages 1000
allow_anonymous true
log_dest file {folder}/log
{extra}
"""
WAIT_S = 60.0


class Broker:
    """A mosquitto that can be stopped, killed and started again; `extra` are its settings."""

    def __init__(self, folder: Path, *extra: str) -> None:
        folder.mkdir()
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(*extra)

    def configure(self, *extra: str) -> None:
        """Write other settings, for the next start."""
        text = _CONFIGURATION.format(port=self.port, folder=self._folder, extra="\n".join(extra))
        if os.geteuid() == 0:  # else it would become a user who may not write the folder
            text = f"user root\n{text}"
        (self._folder / "mosquitto.conf").write_text(text, "utf-8")

    def start(self) -> None:
        """Start the broker; return when it listens."""
        command = [program("mosquitto"), "-c", str(self._folder / "mosquitto.conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + WAIT_S
        while not self._listens():
            log = self._folder / "log"
            assert self._process.poll() is None, log.read_text() if log.exists() else "no log"
            assert time.monotonic() < ends
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop the broker; with SIGKILL, as a power cut does."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(WAIT_S)
            self._process = None

    def reload(self) -> None:
        """Make the broker read its access list and passwords again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    @contextmanager
    def running(self) -> Iterator["Broker"]:
        """Run the broker while the block does."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def settings(self, **changes: object) -> dict[str, Any]:
        """Return the settings of a sink that delivers to this broker."""
        settings = {"type": "mqtt", "host": "127.0.0.1", "port": self.port, "timeout_s": 5}
        return {**settings, "backoff_s": 0.05, "max_backoff_s": 0.5, **changes}

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Listener:
    """Subscribes to all results in a session that lasts; `messages` are in the order of arrival."""

    def __init__(self, broker: Broker, **options: object) -> None:
        self.messages: list[dict[str, Any]] = []
        self.topics: list[str] = []
        self.states: list[bytes] = []
        self._subscribed = threading.Event()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, "listener", clean_session=False, protocol=mqtt.MQTTv311
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._note
        if options.get("username"):
            client.username_pw_set(str(options["username"]), str(options["password"]))
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def _note(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/state"):
            self.states.append(message.payload)
            return
        self.topics.append(message.topic)
        self.messages.append(json.loads(message.payload))

    def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(broker: Broker, **options: object) -> Iterator[Listener]:
    """Listen while the block runs."""
    listener = Listener(broker, **options)
    try:
        yield listener
    finally:
        listener.close()


def first_appearances(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages without repeats, in the order in which each first came."""
    by_id: dict[str, dict[str, Any]] = {}
    for message in messages:
        by_id.setdefault(message["event_id"], message)
    return list(by_id.values())


def out_of_order(messages: Sequence[dict[str, Any]]) -> list[str]:
    """Name the stations whose messages did not first come in the order of the journal."""
    last: Counter[str] = Counter()
    wrong = []
    for message in first_appearances(messages):
        if message["number"] < last[message["station"]]:
            wrong.append(f"{message['station']}: {message['number']}")
        last[message["station"]] = message["number"]
    return wrong


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
