"""MQTT, on a real mosquitto: order, acknowledgements, access lists, TLS, and bad brokers."""

import itertools
import json
import socket
import subprocess
import threading

import pytest

from service.archive.records import Event, EventKind
from service.delivery.breaker import BreakerState
from service.delivery.message import MessageMaker
from service.delivery.sinks.mqtt import _Window
from service.inspection.submission import Origin
from service.settings.sinks import MqttSettings
from tests.programs import program
from tests.service.delivery.broker import (
    first_appearances,
    free_port,
    listening,
    out_of_order,
)
from tests.service.delivery.journals import NODE, inspection, parts, record
from tests.service.delivery.proxy import CuttingProxy

CONNACK_5 = bytes([0x20, 0x03, 0x00, 0x00, 0x00])
PUBACK = 4
"""Type of a packet, the upper half of its first byte."""


@pytest.fixture
def until_held(eventually):
    """Wait until the one sink is held for a reason with these words; return its status."""

    def wait(deliveries, words: str):
        def is_held():
            (status,) = deliveries.status()
            return words in (status.last_error or "") and status

        return eventually(is_held, f"a failure that says {words!r}")

    return wait


class FakeBroker:
    """Accepts connections, sends the same bytes to each, and says nothing more."""

    def __init__(self, greeting: bytes) -> None:
        self.connections: list[socket.socket] = []
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.sendall(self._greeting)
            self.connections.append(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.connections:
            connection.close()


def test_every_part_arrives_once_and_in_order(journal, deliver, broker, eventually):
    with listening(broker) as listener:
        deliver(mes=broker.settings())
        record(journal, parts(200))
        eventually(lambda: len(listener.messages) >= 200)
    assert not out_of_order(listener.messages)
    assert len({message["event_id"] for message in listener.messages}) == 200
    assert set(listener.topics) == {f"mambaad/Plant 2/press {n}/bolt/result" for n in range(3)}


def test_the_state_is_retained_and_the_will_says_offline(deliver, broker, eventually):
    with listening(broker) as listener:
        deliveries = deliver(mes=broker.settings())
        eventually(lambda: listener.states == [b"online"])
        deliveries.stop()
        eventually(lambda: listener.states == [b"online", b"offline"])
    with listening(broker) as late:
        eventually(lambda: late.states)


def test_names_of_clients_add_no_levels_and_end_no_connection(journal, deliver, broker, eventually):
    names = [
        "a/b",
        "+",
        "#",
        "%2F",
        "-",
        "\x01\x7f\x85",
        "\ufffe\ufdd0",
        "'; drop table",
        "ü \U0001f527",
        "",
    ]
    with listening(broker) as listener:
        deliver(mes=broker.settings())
        record(journal, [inspection(station=name) for name in names])
        eventually(lambda: len(listener.messages) == len(names))
    assert [message["station"] for message in listener.messages] == names
    levels = [topic.split("/") for topic in listener.topics]
    assert {len(of_topic) for of_topic in levels} == {5}
    assert len({of_topic[2] for of_topic in levels}) == len(names)
    assert levels[0][2] == "a%2Fb"
    assert levels[-1][2] == "-"


def test_a_broker_that_is_away_gets_everything_when_it_is_back(
    journal, deliver, broker, eventually
):
    with listening(broker) as listener:
        deliveries = deliver(mes=broker.settings())
        record(journal, parts(20))
        eventually(lambda: len(listener.messages) >= 20)
        broker.stop()
        record(journal, parts(100))
        eventually(lambda: deliveries.status()[0].breaker is not BreakerState.CLOSED)
        assert deliveries.status()[0].depth == 100
        broker.start()
        eventually(lambda: len(first_appearances(listener.messages)) == 120)
    assert not out_of_order(listener.messages)


def test_a_broker_that_never_acknowledges_holds_the_sink(journal, deliver, until_held):
    broker = FakeBroker(CONNACK_5)
    try:
        settings = {"type": "mqtt", "host": "127.0.0.1", "port": broker.port, "timeout_s": 0.3}
        deliveries = deliver(mes={**settings, "state_topic": ""})
        record(journal, parts(3))
        assert until_held(deliveries, "no PUBACK within 0.3 s").position == 0
    finally:
        broker.close()


def test_a_broker_that_accepts_and_says_nothing_holds_the_sink(journal, deliver, until_held):
    broker = FakeBroker(b"")
    try:
        settings = {"type": "mqtt", "host": "127.0.0.1", "port": broker.port, "timeout_s": 0.3}
        deliveries = deliver(mes=settings)
        assert until_held(deliveries, "no CONNACK within 0.3 s").position == 0
    finally:
        broker.close()


def test_a_denied_topic_holds_the_sink_and_no_message_is_lost(
    journal, deliver, broker, tmp_path, eventually, until_held
):
    rules = tmp_path / "acl"
    topics = "topic read #\ntopic write mambaad/+/+/state\ntopic write mambaad/+/press 0/#\n"
    rules.write_text(topics, "utf-8")
    broker.stop()
    broker.configure(f"acl_file {rules}")
    broker.start()
    with listening(broker) as listener:
        deliveries = deliver(mes=broker.settings())
        record(journal, parts(6))
        status = until_held(deliveries, "Not authorized (0x87)")
        assert status.position == 1
        assert status.breaker is not BreakerState.CLOSED
        eventually(lambda: listener.messages)
        assert {message["station"] for message in listener.messages} == {"press 0"}
        rules.write_text("topic readwrite #\n", "utf-8")
        broker.reload()
        deliveries.retry("mes")
        eventually(lambda: len(first_appearances(listener.messages)) == 6)
    assert not out_of_order(listener.messages)


def test_a_wrong_password_holds_the_sink_until_it_is_right(
    journal, deliver, broker, tmp_path, eventually, until_held
):
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run([program("mosquitto_passwd"), "-b", passwords, "mes", "right"], check=True)
    broker.stop()
    broker.configure("allow_anonymous false", f"password_file {passwords}")
    broker.start()
    secret = tmp_path / "secret"
    secret.write_text("wrong\n", "utf-8")
    with listening(broker, username="mes", password="right") as listener:
        deliveries = deliver(mes=broker.settings(username="mes", password_file=secret))
        record(journal, parts(2))
        assert until_held(deliveries, "the broker refuses the connection").position == 0
        secret.write_text("right\n", "utf-8")
        deliveries.retry("mes")
        eventually(lambda: len(first_appearances(listener.messages)) == 2)
    assert "wrong" not in repr(deliveries.status())


def test_a_refused_client_id_holds_the_sink(journal, deliver, broker, tmp_path, until_held):
    broker.stop()
    broker.configure("clientid_prefixes plant-")
    broker.start()
    deliveries = deliver(mes=broker.settings())
    record(journal, parts(1))
    status = until_held(deliveries, "the broker refuses the connection")
    assert (status.position, status.breaker is BreakerState.CLOSED) == (0, False)


def test_a_message_too_large_for_the_broker_is_a_dead_letter_and_the_next_goes(
    journal, deliver, broker, eventually
):
    broker.stop()
    broker.configure("max_packet_size 6000")
    broker.start()
    large = inspection(part_id="large", meta={"text": "x" * 8000})
    with listening(broker) as listener:
        deliveries = deliver(mes=broker.settings())
        record(journal, [inspection(part_id="1"), large, inspection(part_id="2")])
        eventually(lambda: len(listener.messages) == 2)
        eventually(lambda: deliveries.status()[0].depth == 0)
    assert [message["part_id"] for message in listener.messages] == ["1", "2"]
    (letter,) = deliveries.dead("mes", 10)
    assert (letter.number, letter.event_id) == (2, large.inspection_id)
    assert "6000" in letter.reason


def test_tls_with_a_clients_certificate(journal, deliver, broker, authority, eventually):
    certificate, key = authority.sign("server")
    of_client, key_of_client = authority.sign("line-1")
    secured = free_port()
    broker.stop()
    broker.configure(
        *(f"listener {secured} 127.0.0.1", f"cafile {authority.file}", f"certfile {certificate}"),
        *(f"keyfile {key}", "require_certificate true"),
    )
    broker.start()
    with listening(broker) as listener:
        deliver(
            mes=broker.settings(
                port=secured,
                tls=True,
                ca_file=authority.file,
                certificate_file=of_client,
                key_file=key_of_client,
            )
        )
        record(journal, parts(50))
        eventually(lambda: len(first_appearances(listener.messages)) == 50)
    assert not out_of_order(listener.messages)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_expired_certificate_holds_the_sink(journal, deliver, broker, authority, until_held):
    certificate, key = authority.sign("expired", days=-1)
    broker.stop()
    secured = free_port()
    broker.configure(
        *(f"listener {secured} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}")
    )
    broker.start()
    deliveries = deliver(mes=broker.settings(port=secured, tls=True, ca_file=authority.file))
    record(journal, parts(1))
    status = until_held(deliveries, "certificate has expired")
    assert (status.position, status.breaker is BreakerState.CLOSED) == (0, False)


def test_mqtt_3_1_1_delivers_and_warns(journal, deliver, broker, eventually, caplog):
    with listening(broker) as listener:
        deliver(mes=broker.settings(protocol="3.1.1"))
        record(journal, parts(30))
        eventually(lambda: len(first_appearances(listener.messages)) == 30)
    assert not out_of_order(listener.messages)
    assert "looks delivered, and is lost" in caplog.text


@pytest.mark.parametrize("verdict", ["cut", "drop"])
def test_a_broker_that_ends_the_connection_after_each_message_gets_all_in_order(
    journal, deliver, broker, eventually, verdict
):
    """`cut`: after the acknowledgement; `drop`: every other acknowledgement is lost with it."""
    acknowledged = itertools.count()

    def decide(piece: bytes) -> str:
        if piece[0] >> 4 != PUBACK:
            return "pass"
        return "cut" if verdict == "cut" or next(acknowledged) % 2 else "drop"

    proxy = CuttingProxy(broker.port, decide)
    try:
        with listening(broker) as listener:
            deliver(mes=broker.settings(port=proxy.port, state_topic="", backoff_s=0.01))
            record(journal, parts(12))
            eventually(lambda: len(first_appearances(listener.messages)) == 12)
        assert proxy.connections >= 4
        assert not out_of_order(listener.messages)
    finally:
        proxy.close()


@pytest.mark.parametrize(("of_station", "published"), [(1, ["0", "1", "2"]), (2, [*"012345"])])
def test_a_station_has_as_many_messages_in_flight_as_the_settings_allow(of_station, published):
    class Session:
        """Takes messages, and acknowledges none."""

        sent: list[str]

        def publish(self, topic: str, body: bytes) -> int:
            self.sent.append(json.loads(body)["part_id"])
            return len(self.sent)

    session = Session()
    session.sent = []
    settings = MqttSettings(type="mqtt", host="h", max_inflight_of_station=of_station)
    maker = MessageMaker("Plant 2", NODE)
    parcels = [
        maker.pack(
            Event(number, part.inspection_id, part.inspection_id, EventKind.INSPECTION,
                  part.received_at, part.station, number, Origin.LINE),
            part,
        )
        for number, part in enumerate(parts(9))
    ]  # fmt: skip
    window = _Window(settings, {"site": "s", "service": "s", "node": NODE}, parcels)
    assert window.publish(session, most=20)
    assert session.sent == published


def test_a_far_broker_gets_several_messages_of_a_station_in_order(
    journal, deliver, broker, eventually
):
    with listening(broker) as listener:
        deliver(mes=broker.settings(max_inflight_of_station=10))
        record(journal, parts(100, stations=1))
        eventually(lambda: len(first_appearances(listener.messages)) == 100)
    assert not out_of_order(listener.messages)
