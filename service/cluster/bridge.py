"""A service's side of its bridge process: starts it, speaks to it, starts another when it ends."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from service.cluster.channel import MAX_UNREAD_BYTES, receive, send
from service.cluster.messages import (
    Connected,
    Hello,
    Measured,
    Parted,
    Replied,
    Reported,
    Roster,
    ToBridge,
)
from service.errors import WorkerLost

logger = logging.getLogger("service.bridging")

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 10.0
_END_S = 3.0
_JOINING_S = 300.0
_SILENCE_S = 30.0
"""A bridge that has joined says something every few seconds."""


class BridgeClient:
    """Keeps a bridge process alive. Belongs to one event loop.

    `on_news` is called with each report, measure and roster, and with None when the bridge has
    ended.
    """

    def __init__(
        self,
        hello: Callable[[], Hello],
        on_news: Callable[[Reported | Measured | Roster | None], None],
    ) -> None:
        self._hello = hello
        self._on_news = on_news
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._numbers = count()
        self.problem = "the process that speaks to Ray starts"
        self.pid: int | None = None

    def number(self) -> int:
        """Return the id of a new request."""
        return next(self._numbers)

    async def ask(self, number: int, message: ToBridge) -> object:
        """Send a request and return the result of its answer. Raises `WorkerLost`."""
        if self._writer is None:
            raise WorkerLost(f"the cluster cannot be reached: {self.problem}")
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        send(self._writer, message)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def tell(self, message: ToBridge) -> None:
        """Send a message that is not answered, if there is a bridge."""
        if self._writer is not None:
            send(self._writer, message)

    async def run(self) -> None:
        """Keep a bridge until cancelled."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                if await self._live():
                    delay_s = _FIRST_DELAY_S
            except OSError as error:
                self.problem = f"the process that speaks to Ray cannot start: {error}"
            logger.error("%s; next start in %.1f s", self.problem, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    async def _live(self) -> bool:
        """Serve one process until it ends; return whether it had joined the cluster."""
        end, child_end = socket.socketpair()
        with child_end:
            try:
                process = await _started(child_end)
            except BaseException:
                end.close()
                raise
        self.pid = process.pid
        reader, writer = await asyncio.open_connection(sock=end, limit=MAX_UNREAD_BYTES)
        joined = False
        try:
            send(writer, self._hello())
            while True:
                async with asyncio.timeout(_SILENCE_S if joined else _JOINING_S):
                    message = await receive(reader)
                if isinstance(message, Connected):
                    joined, self._writer, self.problem = True, writer, ""
                    logger.info("joined the Ray cluster")
                elif isinstance(message, Parted):
                    self.problem = message.reason
                elif isinstance(message, Replied):
                    self._resolve(message)
                elif isinstance(message, Reported | Measured | Roster):
                    self._on_news(message)
        except TimeoutError:
            self.problem = "the process that speaks to Ray has fallen silent"
            return joined
        except (asyncio.IncompleteReadError, ConnectionError):
            self.problem = self.problem or "the process that speaks to Ray has ended"
            return joined
        finally:
            self._lose()
            writer.close()
            await asyncio.to_thread(_end, process)

    def _resolve(self, reply: Replied) -> None:
        answer = self._waiting.get(reply.id)
        if answer is not None and not answer.done():
            answer.set_result(reply.result)

    def _lose(self) -> None:
        self._writer, self.pid = None, None
        for answer in self._waiting.values():
            if not answer.done():
                error = WorkerLost("the connection to the cluster was lost with this image on it")
                answer.set_exception(error)
        self._on_news(None)


async def _started(end: socket.socket) -> "subprocess.Popen[bytes]":
    """Start a process; if cancelled meanwhile, end it before `end` is closed."""
    starting = asyncio.create_task(asyncio.to_thread(_start, end))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):
            process = await starting
            process.kill()
            await asyncio.to_thread(process.wait)
        raise


def _start(end: socket.socket) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "service.cluster.remote.bridge", str(end.fileno())]
    return subprocess.Popen(
        command,
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process whose socket is closed, and kill it if it stays."""
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
