"""The cutter wakes whoever waits for a connection, and leaves a quick exchange alone."""

import socket

from service.delivery.sinks.cutting import Cutter


def test_a_slow_exchange_is_cut_and_the_next_is_not():
    near, far = socket.socketpair()
    cutter = Cutter(near.fileno)
    with near, far:
        for _ in range(100):
            with cutter.within(60):
                far.sendall(b"x")
                assert near.recv(1) == b"x"
        assert not cutter.was_late
        with cutter.within(0.05):
            assert near.recv(1) == b""
        assert cutter.was_late
    near, far = socket.socketpair()
    with near, far:
        with cutter.within(60):
            far.sendall(b"x")
            assert near.recv(1) == b"x"
        assert not cutter.was_late
    cutter.close()


def test_a_connection_that_is_gone_or_not_there_is_cut_without_an_error():
    near, far = socket.socketpair()
    near.close()
    far.close()
    Cutter(near.fileno).cut()
    Cutter(lambda: None).cut()


def test_an_abort_wakes_a_waiting_exchange():
    near, far = socket.socketpair()
    with near, far:
        cutter = Cutter(near.fileno)
        cutter.cut()
        assert near.recv(1) == b""
