"""A TCP proxy between station and service: forwards, refuses, or holds answers back."""

import asyncio
from contextlib import asynccontextmanager, suppress


class Proxy:
    """While `is_away`, connections break at once; answers wait for `delay_s`."""

    def __init__(self, url):
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._target = host, int(port)
        self._writers = set()
        self.is_away = False
        self.delay_s = 0.0

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    def cut(self):
        """Break all connections."""
        for writer in list(self._writers):
            writer.close()

    def go(self):
        self.is_away = True
        self.cut()

    async def _serve(self, reader, writer):
        if self.is_away:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        try:
            with suppress(ConnectionError):
                await asyncio.gather(
                    self._pump(reader, there_writer),
                    self._pump(there_reader, writer, is_answer=True),
                )
        finally:
            for end in (writer, there_writer):
                self._writers.discard(end)
                end.close()

    async def _pump(self, reader, writer, *, is_answer=False):
        try:
            while data := await reader.read(65_536):
                if is_answer and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
