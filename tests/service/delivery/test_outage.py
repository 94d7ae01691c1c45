"""A shift in half a minute: parts come while the broker is away and the service is killed.

`make soak-delivery` does the same for minutes, with every kind of sink.
"""

import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.service.delivery.broker import Broker, first_appearances, listening, out_of_order
from tests.service.live import Live, serving

STATIONS = 3


class Line:
    """Posts parts from several stations, and notes the answers by inspection id."""

    def __init__(self, content: bytes) -> None:
        self.told: dict[str, str] = {}
        self._content = content
        self._numbers = itertools.count()

    @contextmanager
    def posting(self, live: Live) -> Iterator[None]:
        """Post to a service while the block runs; it may die meanwhile."""
        done = threading.Event()
        stations = [
            threading.Thread(target=self._post, args=(live.url, f"press {number}", done))
            for number in range(STATIONS)
        ]
        for station in stations:
            station.start()
        try:
            yield
        finally:
            done.set()
            for station in stations:
                station.join()

    def _post(self, url: str, station: str, done: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not done.wait(0.1):
                part = {"category": "bolt", "station": station, "part_id": str(next(self._numbers))}
                try:
                    response = client.post("/detect", params=part, content=self._content)
                except httpx.TransportError:
                    continue
                if response.status_code == 200:
                    answer = response.json()
                    assert answer["archived"]
                    self.told[answer["inspection_id"]] = answer["decision"]


@pytest.fixture
def service(weights, tmp_path):
    """Start the service with a sink; with the same folder of state each time."""

    def start(broker: Broker):
        sinks = {"mes": broker.settings(start="oldest", max_per_s=500)}
        return serving(
            weights,
            versions__state_dir=tmp_path / "state",
            delivery__sinks=json.dumps(sinks),
            archive__site="Plant 2",
        )

    return start


def test_no_answered_part_is_lost_while_the_broker_is_away_and_the_service_is_killed(
    service, broker, image, eventually
):
    line = Line(image())
    with listening(broker) as listener:
        with service(broker) as live, line.posting(live):
            eventually(lambda: len(listener.messages) > 20)
            broker.stop(signal.SIGTERM)
            begun = len(line.told)
            eventually(lambda: len(line.told) > begun + 40)
            live.process.kill()
        answered = len(line.told)
        with service(broker) as live, line.posting(live):
            eventually(lambda: len(line.told) > answered + 40)
            broker.start()
            time.sleep(1)  # new parts come while the backlog is sent
            waiting = line.told.copy()
            eventually(lambda: waiting.keys() <= _ids(listener.messages))
    assert not out_of_order(listener.messages)
    messages = first_appearances(listener.messages)
    delivered = {message["inspection_id"]: message["told"]["decision"] for message in messages}
    assert waiting.items() <= delivered.items()
    assert {(message["site"], message["kind"]) for message in messages} == {
        ("Plant 2", "inspection")
    }


def _ids(messages: list) -> set[str]:
    return {message["inspection_id"] for message in list(messages)}
