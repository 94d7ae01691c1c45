"""The MQTT door at a real mosquitto, with a real client, at a real machine."""

import asyncio
import json
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from service.station.machine.images import ResultFields
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.door import DoorClosed
from service.station.plc.requests import mqtt as door_module
from service.station.plc.requests.mqtt import MqttDoor
from service.station.plc.requests.rivals import Rivals
from service.station.settings.requests import MqttDoorSettings
from tests.programs import program
from tests.service.delivery.broker import WAIT_S, Broker
from tests.service.delivery.certificates import Authority
from tests.service.station.plc.line import opened

TOPIC = "plant/EL-3"
LOST = ResultFields(
    Verdict.UNDECIDED, FailSafe.NG, Reason.STATION_RESTARTED, trigger_number=1, part_id="part 1"
)


@pytest.fixture
def broker(tmp_path):
    with Broker(tmp_path / "broker").running() as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")


def making(folder, broker, **settings):
    values = {
        "host": "127.0.0.1", "port": broker.port, "topic": TOPIC, "timeout_ms": 2_000,
        "answers_folder": folder / "answers", **settings,
    }  # fmt: skip
    return partial(MqttDoor, MqttDoorSettings(**values))


def part(number, **values):
    return {"trigger_number": number, "part_id": f"part {number}", **values}


class Plc:
    """A client that notes all messages by the last word of their topics."""

    def __init__(self, broker, **options):
        self.messages = []
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, "plc", protocol=mqtt.MQTTv5
        )
        self._is_subscribed = False
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        client.on_subscribe = lambda *_: setattr(self, "_is_subscribed", True)
        client.on_message = lambda _client, _data, message: self.messages.append(message)
        client.reconnect_delay_set(1, 1)
        if options:
            client.username_pw_set(options["user"], options["password"])
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3_600
        client.connect("127.0.0.1", broker.port, clean_start=False, properties=lasting)
        client.loop_start()
        ends = time.monotonic() + WAIT_S
        while not self._is_subscribed:
            assert time.monotonic() < ends
            time.sleep(0.005)

    def send(self, last, body, *, retain=False, reply_to=None, correlation=None):
        properties = Properties(PacketTypes.PUBLISH)
        if reply_to is not None:
            properties.ResponseTopic = reply_to
        if correlation is not None:
            properties.CorrelationData = correlation
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._client.publish(f"{TOPIC}/{last}", content, 1, retain, properties)

    def bodies(self, last):
        return [json.loads(m.payload) for m in self.messages if m.topic == f"{TOPIC}/{last}"]

    def states(self):
        return [state for state in self.bodies("state") if state["online"]]

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def connected(broker, **options):
    plc = Plc(broker, **options)
    try:
        yield plc
    finally:
        plc.close()


async def until_ready(line, plc):
    await line.until(lambda: plc.states() and plc.states()[-1]["ready"])


def test_parts_are_triggered_and_their_results_published_once_each(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            for number in range(1, 6):
                plc.send("trigger", part(number))
                await line.until(lambda: len(plc.bodies("result")) == number)  # noqa: B023
                await until_ready(line, plc)
            assert line.door.clients == 1

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        results = plc.bodies("result")
        assert [(r["trigger_number"], r["part_id"]) for r in results] == [
            (number, f"part {number}") for number in range(1, 6)
        ]
        assert {(r["verdict"], r["score"], r["repeated"]) for r in results} == {("OK", 0.25, False)}
        assert plc.bodies("reply") == []
        assert plc.bodies("state")[-1]["online"] is False


def test_a_reply_goes_to_the_response_topic_with_its_correlation_data(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            plc.send("trigger", part(1), reply_to=f"{TOPIC}/trigger")
            await line.until(lambda: plc.bodies("reply"))
            plc.send("trigger", part(1), reply_to=f"{TOPIC}/mine", correlation=b"\x01\xff")
            await line.until(lambda: plc.bodies("mine") and plc.bodies("result"))
            plc.send("trigger", part(1), reply_to=f"{TOPIC}/mine", correlation=b"2")
            plc.send("command", {"command": "Halt"}, reply_to=f"{TOPIC}/mine", correlation=b"3")
            await line.until(lambda: len(plc.bodies("mine")) == 3)
            return line.numbers

    with connected(broker) as plc:
        assert asyncio.run(scenario(plc)) == [1]
        mine = [m for m in plc.messages if m.topic == f"{TOPIC}/mine"]
        by_data = {m.properties.CorrelationData: json.loads(m.payload) for m in mine}
        assert by_data[b"\x01\xff"] == plc.bodies("result")[0]
        assert (by_data[b"2"]["verdict"], by_data[b"2"]["repeated"]) == ("OK", True)
        assert (by_data[b"3"]["result"], by_data[b"3"]["state"]["state"]) == ("DONE", "HALTED")
        (refused,) = plc.bodies("reply")
        assert refused["error"] == "invalid"
        assert "response topic" in refused["detail"]


def test_commands_and_refusals_are_replied(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker), is_ready=False) as line:
            await line.until(plc.states)
            for last, body in (
                ("trigger", part(1, request_id="r")),
                ("command", {"command": "SelectModeAutomatic", "request_id": "c"}),
                ("command", {"command": "PrepareRecipe", "recipe": 1}),
                ("command", {"command": "StartContinuous"}),
                ("command", {"command": "UnprepareRecipe"}),
                ("command", {"command": "Explode"}),
            ):
                count = len(plc.bodies("reply"))
                plc.send(last, body)
                await line.until(lambda: len(plc.bodies("reply")) > count)  # noqa: B023
            plc.send("command", {"command": "StartSingleJob", **part(2)})
            await line.until(lambda: len(plc.bodies("reply")) == 7)

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        early, mode, prepared, continuous, refused, unknown, job = plc.bodies("reply")
        assert (early["error"], early["verdict"], early["request_id"]) == ("not-ready", "NONE", "r")
        assert early["detail"] == "the station is in the state preoperational"
        assert (early["trigger_number"], early["part_id"]) == (1, "part 1")
        assert early["state"]["missed_trigger"]
        assert (mode["result"], mode["request_id"]) == ("DONE", "c")
        assert (prepared["result"], prepared["state"]["ready"]) == ("DONE", True)
        assert continuous["state"]["state"] == "CONTINUOUS_EXECUTION"
        assert (refused["result"], refused["state"]["recipe"]) == ("REFUSED", 1)
        assert unknown["error"] == "invalid"
        assert (job["error"], job["result"]) == ("not-ready", "REFUSED")


def test_a_single_job_is_answered_like_a_trigger(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            plc.send("command", {"command": "StartSingleJob", **part(2)})
            await line.until(lambda: plc.bodies("result"))

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        (result,) = plc.bodies("result")
        assert (result["part_id"], result["verdict"]) == ("part 2", "OK")


def test_of_a_hundred_triggers_at_once_one_is_taken_and_all_others_are_refused(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            line.decides.clear()
            for number in range(1, 101):
                plc.send("trigger", part(number))
            await line.until(lambda: len(plc.bodies("reply")) == 99)
            line.decides.set()
            await line.until(lambda: plc.bodies("result"))
            return line.numbers

    with connected(broker) as plc:
        (taken,) = asyncio.run(scenario(plc))
        (result,) = plc.bodies("result")
        assert (result["trigger_number"], result["part_id"]) == (taken, f"part {taken}")
        refused = plc.bodies("reply")
        assert {reply["error"] for reply in refused} == {"not-ready"}
        assert {reply["trigger_number"] for reply in refused} == {*range(1, 101)} - {taken}


def test_a_repeated_trigger_starts_no_part_and_gets_the_same_result(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            for _ in range(3):  # as a client does whose acknowledgements are lost
                plc.send("trigger", part(1))
            await line.until(lambda: len(plc.bodies("result")) == 3)
            plc.send("trigger", part(1, request_id="other"))
            await line.until(lambda: plc.bodies("reply"))
            return line.numbers

    with connected(broker) as plc:
        assert asyncio.run(scenario(plc)) == [1]
        results = plc.bodies("result")
        assert sorted(result.pop("repeated") for result in results) == [False, True, True]
        assert results[0] == results[1] == results[2]
        assert plc.bodies("reply")[0]["error"] == "other-request"


def test_rubbish_is_replied_and_harms_no_later_part(tmp_path, broker):
    rubbish = [b"", b"\xff\xfe\x00", b"[" * 5_000, b"{}", b'{"trigger_number": "1"}', b"x" * 30_000]

    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            for content in rubbish:
                plc.send("trigger", content)
                plc.send("command", content)
            await line.until(lambda: len(plc.bodies("reply")) == 2 * len(rubbish))
            assert line.numbers == []
            plc.send("trigger", part(1))
            await line.until(lambda: plc.bodies("result"))

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        assert {reply["error"] for reply in plc.bodies("reply")} == {"invalid"}
        assert plc.bodies("result")[0]["verdict"] == "OK"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_trigger_and_one_from_before_the_start_inspect_nothing(
    tmp_path, broker, protocol
):
    async def scenario(plc):
        async with opened(making(tmp_path, broker, protocol=protocol)) as line:
            await until_ready(line, plc)
            plc.send("trigger", part(3))
            await line.until(lambda: plc.bodies("result"))
            return line.numbers

    with connected(broker) as plc:
        plc.send("trigger", part(1), retain=True)
        plc.send("trigger", part(2))
        assert asyncio.run(scenario(plc)) == [3]
        assert [result["trigger_number"] for result in plc.bodies("result")] == [3]


def test_results_wait_while_the_broker_is_killed_and_are_published_when_it_is_back(
    tmp_path, broker, caplog
):
    async def scenario():
        with connected(broker) as plc:
            async with opened(making(tmp_path, broker)) as line:
                await until_ready(line, plc)
                line.decides.clear()
                plc.send("trigger", part(1), reply_to=f"{TOPIC}/mine", correlation=b"1")
                await line.until(lambda: line.numbers)
                broker._process.send_signal(signal.SIGUSR1)  # it writes the client's session
                stored = tmp_path / "broker" / "mosquitto.db"
                await line.until(lambda: stored.exists() and stored.stat().st_size)
                await asyncio.to_thread(broker.stop, signal.SIGKILL)
                await line.until(lambda: line.door.clients == 0)
                line.decides.set()
                await line.until(line.door._desk.undelivered)
                assert [e.answer.part_id for e in line.door._desk.undelivered()] == ["part 1"]
                await asyncio.to_thread(broker.start)
                await line.until(lambda: plc.bodies("mine"))
                await line.until(lambda: not line.door._desk.undelivered())
                await until_ready(line, plc)
                plc.send("trigger", part(2))
                await line.until(lambda: plc.bodies("result")[-1]["part_id"] == "part 2")
                await asyncio.to_thread(broker.stop)
                await line.until(lambda: line.door.clients == 0)
                await asyncio.to_thread(broker.start)
                await line.until(lambda: line.door.clients)
                return [(r["part_id"], r["verdict"]) for r in plc.bodies("mine")], line.numbers

    mine, numbers = asyncio.run(scenario())
    assert mine == [("part 1", "OK")]
    assert numbers == [1, 2]
    messages = [record.getMessage() for record in caplog.records]
    assert sum(" is away: " in message for message in messages) >= 2
    assert sum(" is back" in message for message in messages) == 2


def test_a_part_in_work_at_the_end_of_the_station_is_told_after_its_restart(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            line.decides.clear()
            plc.send("trigger", part(1), reply_to=f"{TOPIC}/mine", correlation=b"1")
            await line.until(lambda: line.numbers)
        await line.until(lambda: plc.bodies("mine"))
        async with opened(making(tmp_path, broker), restored=[(1, LOST)], is_ready=False) as line:
            await line.until(lambda: plc.bodies("result"))
            plc.send("trigger", part(1))
            await line.until(lambda: len(plc.bodies("result")) == 2)
            assert line.numbers == []
        async with opened(making(tmp_path, broker), is_ready=False) as line:
            await line.until(lambda: line.door.clients)
            assert line.door._desk.undelivered() == []

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        stops, lost = plc.bodies("mine")
        assert stops["error"] == "stops"
        assert (lost["verdict"], lost["reason"]) == ("UNDECIDED", "STATION_RESTARTED")
        assert [result["repeated"] for result in plc.bodies("result")] == [False, True]


def test_the_last_will_says_that_a_killed_station_is_offline(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            line.door._connection._client.socket().shutdown(2)
            await line.until(lambda: not plc.bodies("state")[-1]["online"])
            await until_ready(line, plc)

    with connected(broker) as plc:
        asyncio.run(scenario(plc))
        assert {"online": False} in plc.bodies("state")


def test_user_and_password_are_checked_by_the_broker(tmp_path):
    passwords, password_file = tmp_path / "passwords", tmp_path / "password"
    subprocess.run(
        [program("mosquitto_passwd"), "-c", "-b", passwords, "station", "s3cret"],
        check=True, capture_output=True,
    )  # fmt: skip
    passwords.chmod(0o600)
    password_file.write_text("s3cret\n")
    extra = ("allow_anonymous false", f"password_file {passwords}")
    with Broker(tmp_path / "broker", *extra).running() as broker:
        right = {"user": "station", "password_file": password_file}

        async def scenario(plc):
            with pytest.raises(DoorClosed, match="refuses the connection: Not authorized"):
                await making(tmp_path, broker)(lambda image: None).check()
            async with opened(making(tmp_path, broker, **right)) as line:
                await until_ready(line, plc)
                return await making(tmp_path, broker, **right)(lambda image: None).check()

        with connected(broker, user="station", password="s3cret") as plc:
            told = asyncio.run(scenario(plc))
            assert told.startswith(f"connected; subscribed to {TOPIC}/trigger")
            assert all(m.topic == f"{TOPIC}/state" for m in plc.messages)


# paho-mqtt leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_needs_a_certificate_of_the_authority_that_has_not_expired(
    tmp_path, authority, monkeypatch, caplog
):
    monkeypatch.setattr(door_module, "_LONGEST_PAUSE_S", 0.2)
    good, expired = authority.sign("broker"), authority.sign("expired", days=-1)
    client, key = authority.sign("client")
    stranger = Authority(tmp_path / "stranger")

    def files(certificate, key):
        return (
            f"certfile {certificate}", f"keyfile {key}", f"cafile {authority.file}",
            "require_certificate true",
        )  # fmt: skip

    broker = Broker(tmp_path / "broker", *files(*expired))
    ours = {"tls": True, "ca_file": authority.file, "certificate_file": client, "key_file": key}

    async def check(**settings):
        return await making(tmp_path, broker, **settings)(lambda image: None).check()

    async def scenario():
        with pytest.raises(DoorClosed, match="certificate has expired"):
            await check(**ours)
        async with opened(making(tmp_path, broker, **ours)) as line:
            await line.until(lambda: any("has expired" in r.getMessage() for r in caplog.records))
            assert line.door.clients == 0
            await asyncio.to_thread(broker.stop)
            broker.configure(*files(*good))
            await asyncio.to_thread(broker.start)
            await line.until(lambda: line.door.clients)
        assert "connected" in await check(**ours)
        with pytest.raises(DoorClosed, match="certificate verify failed"):
            await check(tls=True, ca_file=stranger.file, certificate_file=client, key_file=key)
        with pytest.raises(DoorClosed, match="wants TLS, or a client's certificate"):
            await check(tls=True, ca_file=authority.file)
        with pytest.raises(DoorClosed, match="perhaps it wants TLS"):
            await check()
        with pytest.raises(DoorClosed, match="certificate cannot be read from"):
            await making(tmp_path, broker, tls=True, ca_file=key)(lambda image: None).open()

    with broker.running():
        asyncio.run(scenario())


def test_a_station_starts_without_its_broker_and_connects_later(tmp_path):
    broker = Broker(tmp_path / "broker")

    async def scenario():
        with pytest.raises(DoorClosed, match="refused"):
            await making(tmp_path, broker)(lambda image: None).check()
        async with opened(making(tmp_path, broker)) as line:
            await asyncio.sleep(0.05)
            assert line.door.clients == 0
            await asyncio.to_thread(broker.start)
            await line.until(lambda: line.door.clients)

    try:
        asyncio.run(scenario())
    finally:
        broker.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_stations_with_one_client_id_are_said(tmp_path, broker, caplog, protocol):
    """The broker ends each connection for the other one; this mosquitto does not say why."""

    async def scenario():
        make = partial(making, broker=broker, protocol=protocol)
        async with opened(make(tmp_path / "first")) as line, opened(make(tmp_path / "second")):
            await line.until(lambda: "perhaps has the client id" in caplog.text)

    asyncio.run(scenario())
    assert "client id station-plant_EL-3" in caplog.text
    assert "plc.mqtt.topic" in caplog.text


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_stations_with_one_topic_and_two_client_ids_are_said(
    tmp_path, broker, caplog, protocol
):
    async def scenario():
        make = partial(making, broker=broker, protocol=protocol)
        async with opened(make(tmp_path / "first")) as line:
            await line.until(lambda: line.door.clients)
            assert "another station" not in caplog.text
            async with opened(make(tmp_path / "second", client_id="other")):
                await line.until(lambda: "another station has the topic" in caplog.text)

    asyncio.run(scenario())


def test_a_retained_trigger_of_the_moment_inspects_nothing_and_is_refused(tmp_path, broker):
    async def scenario(plc):
        async with opened(making(tmp_path, broker)) as line:
            await until_ready(line, plc)
            plc.send("trigger", part(1), retain=True)
            await line.until(lambda: plc.bodies("reply"))
            plc.send("trigger", b"", retain=True)  # deletes what the broker keeps
            plc.send("trigger", part(2))
            await line.until(lambda: plc.bodies("result"))
            return line.numbers

    with connected(broker) as plc:
        assert asyncio.run(scenario(plc)) == [2]
        (refusal,) = plc.bodies("reply")
    assert refusal["error"] == "invalid"
    assert "not retained" in refusal["detail"]
    assert refusal["state"]["ready"] is True


def test_a_broker_that_says_that_another_client_took_over_is_believed_at_once(caplog):
    rivals = Rivals(TOPIC, "EL-3")
    assert not rivals.explain_end("the connection ended: Keep alive timeout", 30.0)
    for _ in range(2):
        assert rivals.explain_end("the connection ended: Session taken over", 30.0)
    (record,) = caplog.records
    assert "another client has the client id EL-3" in record.getMessage()


def test_a_connection_that_ends_seldom_is_no_rivals(caplog):
    rivals = Rivals(TOPIC, "EL-3")
    for connected_s in (0.1, 0.1, 30.0, 0.1, 0.1):
        assert not rivals.explain_end("the connection ended: Unspecified error", connected_s)
    assert not caplog.records
