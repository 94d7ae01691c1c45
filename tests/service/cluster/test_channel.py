"""Messages cross a socket whole, with arrays of any size."""

import asyncio
import socket

import numpy as np
import pytest

from service.cluster.channel import MAX_UNREAD_BYTES, receive, send


async def pair():
    ends = socket.socketpair()
    return [await asyncio.open_connection(sock=end, limit=MAX_UNREAD_BYTES) for end in ends]


def test_messages_arrive_in_order_with_equal_arrays():
    async def scenario():
        (_, writer), (reader, far) = await pair()
        arrays = [
            np.random.default_rng(n).integers(0, 256, (n, 3, 256, 256), np.uint8) for n in (1, 9)
        ]
        for number, array in enumerate(arrays):
            send(writer, {"number": number, "pixels": array, "turned": array[:, :, ::-2]})
        send(writer, None)
        for number, array in enumerate(arrays):
            message = await receive(reader)
            assert message["number"] == number
            np.testing.assert_array_equal(message["pixels"], array)
            np.testing.assert_array_equal(message["turned"], array[:, :, ::-2])
        assert await receive(reader) is None
        far.close()
        writer.close()
        with pytest.raises(asyncio.IncompleteReadError):
            await receive(reader)

    asyncio.run(scenario())


def test_pixels_are_not_pickled_but_written_as_they_are():
    async def scenario():
        (_, writer), (reader, far) = await pair()
        sent = np.zeros(1_000_000, np.uint8)
        send(writer, sent)
        received = await receive(reader)
        assert received.base is not None  # a view of the bytes that came
        assert not received.flags.writeable
        far.close()
        writer.close()

    asyncio.run(scenario())
