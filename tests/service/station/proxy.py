"""A TCP proxy between station and service: forwards, refuses, swallows, or holds answers back."""

import asyncio
from contextlib import asynccontextmanager, suppress


class Proxy:
    """While `is_away`, connections break at once; answers wait for `delay_s`.

    While `swallows`, connections stay open and no byte goes on, in either direction: a half-open
    connection. Swallowed bytes never arrive; such a connection is of no use afterwards. `answer`
    replaces the service's: the bytes that each new connection gets after its first request.
    """

    def __init__(self, url):
        self._writers = set()
        self.lead_to(url)
        self.is_away = False
        self.swallows = False
        self.delay_s = 0.0
        self.answer = b""
        self.asked = 0
        """Pieces of requests that went on."""

    def lead_to(self, url):
        """Connect to another service from now on."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._target = host, int(port)
        self.cut()

    @asynccontextmanager
    async def listening(self, tls=None):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
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
        if self.answer:
            await reader.read(65_536)
            writer.write(self.answer)
            writer.close()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody listens there
            writer.close()
            return
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
                if self.swallows:
                    continue
                self.asked += not is_answer
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
