"""One client for each door: it triggers a part, and returns the answer as JSON."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.service.delivery.broker import Broker, free_port


class HttpClient:
    name = "http"

    def __init__(self, folder):
        self.port = free_port()
        self.settings = {"port": self.port}

    @contextmanager
    def connected(self):
        yield

    async def ready(self):
        async with asyncio.timeout(60):
            while not await self._is_ready():
                await asyncio.sleep(0.02)

    async def _is_ready(self):
        async with self._client() as client:
            try:
                return (await client.get("/state")).json()["ready"]
            except httpx.TransportError:
                return False

    async def trigger(self, number, part_id):
        async with self._client() as client:
            body = {"trigger_number": number, "part_id": part_id}
            try:
                return (await client.post("/trigger", json=body)).json()
            except httpx.TransportError:
                return None

    async def acknowledge_error(self):
        async with self._client() as client:
            answer = await client.post("/command", json={"command": "AcknowledgeError"})
            assert answer.status_code == 200

    def _client(self):
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    async def told_after_restart(self, number, part_id):
        while (answer := await self.trigger(number, part_id)) is None:
            await asyncio.sleep(0.05)
        return answer


class MqttClient:
    name = "mqtt"

    def __init__(self, folder):
        self._broker = Broker(folder / "broker")
        self.settings = {"host": "127.0.0.1", "port": self._broker.port, "topic": "plant/EL-3"}
        self._results, self._replies, self._state = [], [], {}

    @contextmanager
    def connected(self):
        with self._broker.running():
            self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2)
            subscribed = threading.Event()
            client.on_connect = lambda *_: client.subscribe("plant/#", qos=1)
            client.on_subscribe = lambda *_: subscribed.set()
            client.on_message = self._note
            client.connect("127.0.0.1", self._broker.port)
            client.loop_start()
            assert subscribed.wait(60)
            yield
            client.disconnect()
            client.loop_stop()

    def _note(self, _client, _data, message):
        kind, body = message.topic.rpartition("/")[2], message.payload
        if kind == "state":
            self._state = json.loads(body)
        elif kind in ("result", "reply"):
            (self._results if kind == "result" else self._replies).append(json.loads(body))

    async def ready(self):
        async with asyncio.timeout(60):
            while not self._state.get("ready"):
                await asyncio.sleep(0.005)

    async def trigger(self, number, part_id):
        self._send("trigger", {"trigger_number": number, "part_id": part_id})
        return await self.told_after_restart(number, part_id)

    def _send(self, last, body):
        self._client.publish(f"plant/EL-3/{last}", json.dumps(body), qos=1)

    async def acknowledge_error(self):
        self._send("command", {"command": "AcknowledgeError"})
        async with asyncio.timeout(60):
            while not any(reply.get("result") == "DONE" for reply in self._replies):
                await asyncio.sleep(0.005)

    async def told_after_restart(self, number, part_id):
        while True:
            for answer in [*self._results, *self._replies]:
                if (answer.get("trigger_number"), answer.get("part_id")) == (number, part_id):
                    return answer
            await asyncio.sleep(0.005)


class FolderClient:
    name = "folder"

    def __init__(self, folder):
        self._share = folder / "share"
        self._share.mkdir()
        self.settings = {"path": str(self._share), "poll_ms": 5}

    @contextmanager
    def connected(self):
        yield

    async def ready(self):
        state = self._share / "station.state"
        async with asyncio.timeout(60):
            while not (state.exists() and json.loads(state.read_text())["ready"]):
                await asyncio.sleep(0.01)

    async def acknowledge_error(self):
        assert (await self._give("AcknowledgeError"))["result"] == "DONE"

    async def _give(self, command):
        name = f"{command}-{time.monotonic_ns()}.json"
        (self._share / name).write_text(json.dumps({"command": command}))
        answer = self._share / "results" / name
        while not answer.exists():
            await asyncio.sleep(0.005)
        return json.loads(answer.read_text())

    async def trigger(self, number, part_id):
        (self._share / f"{number}-{part_id}.trigger").touch()
        return await self.told_after_restart(number, part_id)

    async def told_after_restart(self, number, part_id):
        name = f"{number}-{part_id}.json"
        while True:
            for folder in ("results", "refused"):
                path = self._share / folder / name
                if path.exists():
                    return json.loads(path.read_text())
            await asyncio.sleep(0.005)


CLIENTS = (HttpClient, MqttClient, FolderClient)
