"""A worker's process as the event loop sees it: started, talked to, watched, ended."""

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from service.channel import BatchReply, BatchRequest, CannotStart, Ready, WorkerPlan
from service.inspector import run

T = TypeVar("T")

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy held locks, and CUDA's state


class ProcessDied(Exception):
    """The worker's process is dead; the message says how it ended."""


class WorkerProcess:
    """One spawned inspector and the pipe to it; one exchange at a time.

    Process and pipe are used from a thread of their own, so that the event loop never waits.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        self._connection, self._child_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=run, args=(self._child_end, plan), name=f"mambaad {plan.name}", daemon=True
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worker {plan.name}")
        self._call: Future[object] | None = None
        self._dead = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process's id, once it is started."""
        return self._process.pid

    async def start(self, timeout_s: float) -> Ready:
        """Spawn the process and wait until it is warm. Raises `ProcessDied`, also when late."""
        await self._in_thread(self._spawn)
        asyncio.get_running_loop().add_reader(self._process.sentinel, self._notice_death)
        ready = await self._answer(self._connection.recv, timeout_s, "starting")
        if isinstance(ready, CannotStart):
            raise ProcessDied(ready.reason)
        assert isinstance(ready, Ready)
        return ready

    async def exchange(self, make: Callable[[], BatchRequest], timeout_s: float) -> BatchReply:
        """Send what `make` returns and wait for the reply. Raises `ProcessDied`, also when late."""

        def send_and_receive() -> object:
            self._connection.send(make())
            return self._connection.recv()

        reply = await self._answer(send_and_receive, timeout_s, "computing a batch")
        assert isinstance(reply, BatchReply)
        return reply

    async def wait_dead(self) -> None:
        """Wait until the process has ended."""
        await self._dead.wait()

    async def stop(self, grace_s: float) -> None:
        """End the process and free everything: ask an idle one by closing the pipe, kill others."""
        if self._call and not self._call.done():
            await self._interrupt(self._call)
        self._connection.close()
        self._child_end.close()
        if self._process.pid is not None:
            asyncio.get_running_loop().remove_reader(self._process.sentinel)
            await self._in_thread(lambda: self._end(grace_s))
        self._thread.shutdown(wait=False)

    async def _interrupt(self, call: Future[object]) -> None:
        """Make the thread free; its pipe breaks when the process is killed."""
        while not call.done():
            if self._process.pid is not None:
                self._process.kill()
            await asyncio.sleep(0.01)

    def _spawn(self) -> None:
        self._process.start()
        self._child_end.close()  # else the pipe would stay open here when the process dies

    def _end(self, grace_s: float) -> None:
        self._process.join(grace_s)
        self._process.kill()
        self._process.join()
        self._process.close()

    def _notice_death(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._dead.set()

    async def _answer(self, call: Callable[[], object], timeout_s: float, doing: str) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._in_thread(call)
        except TimeoutError as error:
            raise ProcessDied(f"silent for {timeout_s:g} s while {doing}, so killed") from error
        except (EOFError, OSError) as error:
            await self._in_thread(self._process.join)
            raise ProcessDied(f"ended while {doing}, exit code {self._process.exitcode}") from error

    async def _in_thread(self, call: Callable[[], T]) -> T:
        future = self._thread.submit(call)
        self._call = future  # type: ignore[assignment]  # only ever asked whether it is done
        return await asyncio.wrap_future(future)
