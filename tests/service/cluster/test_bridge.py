"""A lost cluster ends the bridge, and the service starts another: no Ray, no process."""

import asyncio
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

import service.cluster.bridge as client_side
import service.cluster.remote.bridge as bridge_side
from model.checkpoints.key import CheckpointKey
from service.cluster.bridge import BridgeClient
from service.cluster.channel import receive, send
from service.cluster.messages import (
    CannotJoin,
    Connected,
    Hello,
    Parted,
    Presence,
    Roster,
    UnloadEverywhere,
)
from service.cluster.remote.address import knock
from service.cluster.remote.bridge import Bridge
from service.errors import WorkerLost

KEY = CheckpointKey("parts", "1")
HELLO = Hello(None, Presence("a", "press-1"))


class Bridges:
    """Stands in for bridge processes: each is an end of a socket, read by the test."""

    def __init__(self) -> None:
        self.ends = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.writers = []

    def start(self, end: socket.socket):
        self.loop.call_soon_threadsafe(self.ends.put_nowait, end.dup())
        return SimpleNamespace(pid=1, wait=lambda _: 0)

    async def next(self):
        end = await asyncio.wait_for(self.ends.get(), 10)
        reader, writer = await asyncio.open_connection(sock=end)
        self.writers.append(writer)
        assert await receive(reader) == HELLO
        return reader, writer

    async def close(self) -> None:
        while not self.ends.empty():
            self.ends.get_nowait().close()
        for writer in self.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(client_side, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(client_side, "_SILENCE_S", 0.3)
    monkeypatch.setattr(bridge_side, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(bridge_side, "_JOIN_EVERY_S", 0.01)


def with_client(monkeypatch, scenario) -> None:
    async def run() -> None:
        bridges, news = Bridges(), []
        monkeypatch.setattr(client_side, "_start", bridges.start)
        client = BridgeClient(lambda: HELLO, news.append)
        running = asyncio.create_task(client.run())
        try:
            await scenario(client, bridges, news)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bridges.close()

    asyncio.run(run())


def test_a_bridge_that_has_lost_its_cluster_is_followed_by_another(monkeypatch, quickly):
    async def scenario(client, bridges, news):
        reader, writer = await bridges.next()
        send(writer, Connected())
        send(writer, Roster(("cpu/0",)))
        while not news:
            await asyncio.sleep(0.01)
        unloading = asyncio.create_task(client.ask(7, UnloadEverywhere(7, KEY)))
        assert await receive(reader) == UnloadEverywhere(7, KEY)
        send(writer, Parted("Ray on this machine has ended"))
        writer.close()
        with pytest.raises(WorkerLost, match="lost"):
            await unloading
        assert client.problem == "Ray on this machine has ended"
        assert news[-1] is None
        with pytest.raises(WorkerLost, match="Ray on this machine has ended"):
            await client.ask(8, UnloadEverywhere(8, KEY))
        _, writer = await bridges.next()
        send(writer, Connected())
        while client.problem:
            await asyncio.sleep(0.01)

    with_client(monkeypatch, scenario)


def test_a_bridge_that_falls_silent_is_replaced(monkeypatch, quickly):
    async def scenario(client, bridges, news):
        reader, writer = await bridges.next()
        await asyncio.sleep(0.5)
        send(writer, Connected())  # it may join slowly
        await bridges.next()
        assert client.problem == "the process that speaks to Ray has fallen silent"
        with pytest.raises(asyncio.IncompleteReadError):
            await receive(reader)

    with_client(monkeypatch, scenario)


def test_a_process_that_cannot_start_is_tried_again(monkeypatch, quickly):
    async def scenario(client, bridges, news):
        start, failures = bridges.start, iter([OSError("no memory")])

        def fail_once(end):
            for error in failures:
                raise error
            return start(end)

        monkeypatch.setattr(client_side, "_start", fail_once)
        await bridges.next()
        assert "no memory" in client.problem

    with_client(monkeypatch, scenario)


def test_a_process_that_starts_while_the_service_stops_is_ended(monkeypatch):
    processes = []

    def start(_end):
        time.sleep(0.2)
        processes.append(subprocess.Popen(["/bin/sleep", "60"]))
        return processes[-1]

    async def scenario():
        task = asyncio.create_task(client_side._started(None))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(client_side, "_start", start)
    asyncio.run(scenario())
    assert [process.returncode for process in processes] == [-9]


def test_an_ended_process_is_waited_for(monkeypatch):
    monkeypatch.setattr(client_side, "_END_S", 0.05)
    process = subprocess.Popen(["/bin/sleep", "60"])
    client_side._end(process)
    assert process.returncode == -9


@dataclass
class Cluster:
    """Stands in for a process's connection to Ray."""

    node: bool = True
    head: bool = True
    problem: str = ""
    left: list[str] = field(default_factory=list)

    def has_node(self) -> bool:
        return self.node

    def has_head(self) -> bool:
        return self.head

    async def join(self, presence):
        if self.problem:
            raise CannotJoin(self.problem)
        return Roster(), {}

    async def leave(self, service):
        self.left.append(service)


def with_bridge(scenario) -> Cluster:
    cluster = Cluster()

    async def run() -> None:
        (_, ours), (reader, theirs) = [
            await asyncio.open_connection(sock=end) for end in socket.socketpair()
        ]
        inward = asyncio.StreamReader()
        bridge = Bridge(inward, ours, cluster, HELLO.presence)
        running = asyncio.create_task(bridge.run())
        assert await receive(reader) == Connected()
        await asyncio.wait_for(scenario(cluster, reader, inward), 10)
        await asyncio.wait_for(running, 10)
        for writer in (ours, theirs):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(run())
    return cluster


async def last_message(reader, until: type):
    while not isinstance(message := await receive(reader), until):
        pass
    return message


def test_the_end_of_this_machines_ray_ends_the_bridge_although_the_manager_answers(quickly):
    async def scenario(cluster, reader, inward):
        assert (await last_message(reader, Roster)).problem is None
        cluster.node = False
        assert "on this machine" in (await last_message(reader, Parted)).reason

    assert with_bridge(scenario).left == []


def test_another_cluster_at_the_heads_address_ends_the_bridge(quickly):
    async def scenario(cluster, reader, inward):
        cluster.problem, cluster.head = "the actor is unavailable", False
        assert "another cluster" in (await last_message(reader, Parted)).reason

    assert with_bridge(scenario).left == []


def test_a_head_that_is_away_ends_no_bridge(quickly):
    async def scenario(cluster, reader, inward):
        cluster.problem = "the actor is unavailable"
        while (await last_message(reader, Roster)).problem is None:
            pass
        await asyncio.sleep(0.1)
        cluster.problem = ""
        while (await last_message(reader, Roster)).problem:
            pass
        inward.feed_eof()

    assert with_bridge(scenario).left == ["a"]


def test_an_address_where_nothing_listens_is_known_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        knock(address)
    with pytest.raises(ConnectionRefusedError):
        knock(address)
    knock("auto")


def test_a_connection_knows_whether_its_node_and_head_are_there(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from service.cluster.remote import connection  # noqa: PLC0415 - imports Ray

    path = tmp_path / "raylet"
    joined = connection.Connection.__new__(connection.Connection)
    with socket.create_server(("127.0.0.1", 0)) as head, socket.socket(socket.AF_UNIX) as raylet:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        joined._node = SimpleNamespace(
            raylet_socket_name=str(path), gcs_address=address, cluster_id="one"
        )
        assert not joined.has_node()
        raylet.bind(str(path))
        raylet.listen(0)
        assert [joined.has_node() for _ in range(5)] == [True] * 5  # also when its queue is full
        for found, expected in (("one", True), ("two", False)):
            client = SimpleNamespace(
                GcsClient=lambda address, found=found: SimpleNamespace(cluster_id=found)
            )
            monkeypatch.setattr(connection.ray, "_raylet", client)
            assert joined.has_head() is expected
    assert not joined.has_node()
    assert joined.has_head(), "a head that does not answer may come back"
