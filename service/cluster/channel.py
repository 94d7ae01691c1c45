"""Messages over a stream: each pickled once, arrays beside it without a copy.

A message is the number of its parts, the size of each, and the parts: the pickle first, then the
arrays' bytes. Arrays that arrive are read-only.
"""

import asyncio
import pickle
import struct

_COUNT = struct.Struct("<I")
_SIZE = struct.Struct("<Q")

MAX_UNREAD_BYTES = 2**20
"""Bytes that a stream takes before they are read."""


def send(writer: asyncio.StreamWriter, message: object) -> None:
    """Write a message; never waits."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    sizes = b"".join(_SIZE.pack(part.nbytes) for part in parts)
    writer.write(_COUNT.pack(len(parts)) + sizes)
    for part in parts:
        writer.write(part)


async def receive(reader: asyncio.StreamReader) -> object:
    """Read a message. Raises `asyncio.IncompleteReadError` at the end of the stream."""
    (count,) = _COUNT.unpack(await reader.readexactly(_COUNT.size))
    sizes = [_SIZE.unpack(await reader.readexactly(_SIZE.size))[0] for _ in range(count)]
    pickled, *buffers = [await reader.readexactly(size) for size in sizes]
    return pickle.loads(pickled, buffers=buffers)
