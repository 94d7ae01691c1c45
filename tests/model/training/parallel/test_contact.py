"""Processes in contact: who left, who failed, who was lost. Here they are threads."""

import json
import socket
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch.distributed as dist

from model.errors import ConfigError, ProcessLost
from model.training.parallel import contact as contacts
from model.training.parallel.contact import contact


@pytest.fixture
def store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=30))


@contextmanager
def other(store, rank, size, act):
    """Another process, which does `act(loss)` and ends."""

    def run():
        client = dist.TCPStore("127.0.0.1", store.port, timeout=timedelta(seconds=30))
        try:
            with contact(client, rank, size) as loss:
                act(loss)
        except Exception as error:
            ends.append(error)

    ends = []
    thread = threading.Thread(target=run)
    thread.start()
    yield ends
    thread.join(30)
    assert not thread.is_alive()


def test_processes_that_leave_are_not_lost(store):
    with (
        other(store, 1, 3, lambda _loss: None),
        other(store, 2, 3, lambda _loss: None),
        contact(store, 0, 3) as loss,
    ):
        assert loss.wait(0.5) is None


def test_all_are_told_why_one_failed(store):
    seen, is_connected = [], threading.Event()

    def fail(_loss):
        is_connected.wait(20)
        raise ConfigError("no such device")

    def watch(loss):
        is_connected.set()
        seen.append(loss.wait(20))

    reason = "process 1 on 127.0.0.1 ended: no such device"
    with (
        other(store, 1, 3, fail) as first,
        other(store, 2, 3, watch),
        contact(store, 0, 3) as loss,
    ):
        assert loss.wait(20) == reason
    assert seen == [reason]
    assert [str(error) for error in first] == ["no such device"]


def test_what_fails_because_of_a_loss_is_reported_as_the_loss(store):
    def break_off(_loss):
        raise OSError("gone")

    with (
        other(store, 1, 2, break_off),
        pytest.raises(ProcessLost, match=r"process 1 on 127\.0\.0\.1 ended: gone"),
        contact(store, 0, 2),
    ):
        raise RuntimeError("Connection closed by peer")


def test_an_error_without_a_loss_stays_what_it_is(store, monkeypatch):
    monkeypatch.setattr(contacts, "GRACE_S", 0.2)
    with (
        other(store, 1, 2, lambda loss: loss.wait(20)) as ends,
        pytest.raises(RuntimeError, match="out of range"),
        contact(store, 0, 2),
    ):
        raise RuntimeError("out of range")
    assert ends == []


@contextmanager
def greeting(store, more=b""):
    """Another process, which sends its greeting and `more` at once, and closes the connection."""

    def run():
        client = dist.TCPStore("127.0.0.1", store.port, timeout=timedelta(seconds=30))
        address, port, token = json.loads(client.get("contact"))
        with socket.create_connection((address, port)) as peer:
            peer.sendall(b'{"rank": "1", "token": "%s"}\n' % token.encode() + more)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def test_a_connection_that_breaks_without_a_word_is_a_loss(store):
    with greeting(store), contact(store, 0, 2) as loss:
        assert loss.wait(20) == (
            "process 1 on 127.0.0.1 has ended: start the command again with --resume on every host"
        )


def test_one_that_leaves_as_soon_as_it_came_is_not_lost(store):
    with greeting(store, b'{"left": ""}\n'), contact(store, 0, 2) as loss:
        assert loss.wait(0.5) is None


def test_strangers_are_turned_away(store):
    def knock():
        client = dist.TCPStore("127.0.0.1", store.port, timeout=timedelta(seconds=30))
        address, port, _ = json.loads(client.get("contact"))
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b'{"rank": "1", "token": "guess"}\n', b"[]\n"):
            with socket.create_connection((address, port)) as peer:
                peer.sendall(hello)
        with other(store, 1, 2, lambda _loss: None):
            pass

    thread = threading.Thread(target=knock)
    thread.start()
    with contact(store, 0, 2) as loss:
        assert loss.wait(0.2) is None
    thread.join(30)
    assert not thread.is_alive()
