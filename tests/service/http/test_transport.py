"""Writes that go out together, and their fate when the connection ends."""

from asyncio import Transport

import pytest

from service.http.transport import GatheringTransport


class Wire(Transport):
    """A transport that records what it gets, and still has 7 bytes to send."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.unsent = 7
        self.ended = None

    def write(self, data):
        assert not self.ended
        self.sent.append(data)

    def close(self):
        self.ended = "closed"

    def abort(self):
        self.ended = "aborted"

    def is_closing(self):
        return self.ended is not None

    def get_write_buffer_size(self):
        return self.unsent


class Loop:
    """An event loop's `call_soon`, and its next turn."""

    def __init__(self):
        self.calls = []

    def call_soon(self, call):
        self.calls.append(call)

    def turn(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def transport(wire, loop):
    return GatheringTransport(wire, loop)


def test_small_writes_of_one_turn_go_together(transport, wire, loop):
    transport.write(b"head ")
    transport.writelines([b"body", bytearray(b"!")])
    assert wire.sent == []
    assert transport.get_write_buffer_size() == 7 + 10
    loop.turn()
    assert wire.sent == [b"head body!"]
    assert transport.get_write_buffer_size() == 7
    transport.write(b"next")
    loop.turn()
    assert wire.sent == [b"head body!", b"next"]


def test_much_is_sent_at_once_and_in_order(transport, wire, loop):
    transport.write(b"head")
    transport.write(bytes(100_000))  # if held back, it would escape the transport's own limits
    assert [len(piece) for piece in wire.sent] == [100_004]
    transport.write(b"tail")
    loop.turn()
    assert wire.sent[1:] == [b"tail"]


def test_what_was_written_before_it_is_changed_is_sent(transport, wire, loop):
    buffer = bytearray(b"first")
    transport.write(buffer)
    buffer[:] = b"other"
    loop.turn()
    assert wire.sent == [b"first"]


def test_closing_sends_what_is_held(transport, wire, loop):
    transport.write(b"last words")
    transport.close()
    assert wire.sent == [b"last words"]
    assert transport.is_closing()
    loop.turn()
    assert wire.sent == [b"last words"]


def test_aborting_sends_nothing_more(transport, wire, loop):
    transport.write(b"never")
    transport.abort()
    loop.turn()
    assert wire.sent == []
    assert wire.ended == "aborted"


def test_nothing_is_written_to_a_wire_that_was_cut(transport, wire, loop):
    transport.write(b"too late")
    wire.abort()
    loop.turn()
    assert wire.sent == []
