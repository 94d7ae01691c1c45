"""The cutter wakes whoever waits for a connection, and leaves a quick exchange alone."""

import socket

from service.cutting import Cutter


def test_a_slow_exchange_is_cut_and_the_next_is_not():
    connections = [socket.socketpair()]
    cutter = Cutter(0.5, lambda: connections[-1][0].fileno())  # noqa: PLW0108 - the last changes

    def exchange() -> bytes:
        near, far = connections[-1]
        with cutter.limited():
            far.sendall(b"x")
            return near.recv(1)

    assert [exchange() for _ in range(100)] == [b"x"] * 100
    assert not cutter.was_late
    with cutter.limited():
        assert connections[-1][0].recv(1) == b""
    assert cutter.was_late
    connections.append(socket.socketpair())
    assert exchange() == b"x"
    assert not cutter.was_late
    cutter.close()
    for near, far in connections:
        near.close()
        far.close()


def test_a_connection_that_is_gone_or_not_there_is_cut_without_an_error():
    near, far = socket.socketpair()
    near.close()
    far.close()
    Cutter(1.0, near.fileno).cut()
    Cutter(1.0, lambda: None).cut()


def test_an_abort_wakes_a_waiting_exchange():
    near, far = socket.socketpair()
    with near, far:
        cutter = Cutter(60.0, near.fileno)
        cutter.cut()
        assert near.recv(1) == b""
