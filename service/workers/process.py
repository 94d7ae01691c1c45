"""A worker's process as the event loop sees it: started, talked to, watched, ended."""

import asyncio
import contextlib
import logging
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import TypeVar

from model.checkpoints.key import CheckpointKey
from service.workers.child.inspector import run
from service.workers.jobs import Batch
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import (
    BatchReply,
    BatchRequest,
    Beat,
    CannotStart,
    Finding,
    Known,
    Load,
    LoadReply,
    Ready,
    Request,
    Unload,
    UnloadReply,
    WorkerPlan,
)

logger = logging.getLogger("service.process")

R = TypeVar("R")

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy held locks, and CUDA's state
_LAST_WORDS_S = 1.0
_TICKS = 5
"""How often a worker's heart is listened for within the time it may be silent."""


class ProcessDied(Exception):
    """The worker's process is dead; the message says how it ended."""


class WorkerProcess:
    """One spawned inspector, the pipe to it and the memory shared with it.

    Several exchanges can be on the way, a batch for each lane among them. The pipe is read and
    written by threads of their own, so that the event loop never waits.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        self._connection, self._child_end = _SPAWN.Pipe()
        # Two for each lane: the next batch is written while the last is computed.
        self._blocks = [SharedBlock() for _ in range(2 * plan.lanes)]
        self._free = list(range(2 * plan.lanes))
        self._process = _SPAWN.Process(
            target=run,
            args=(self._child_end, plan, self._blocks),
            name=f"mambaad {plan.name}",
            daemon=True,
        )
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"to {plan.name}")
        self._reader = threading.Thread(target=self._read, name=f"from {plan.name}", daemon=True)
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._batches: dict[int, BatchRequest] = {}
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._burial: asyncio.Task[None] | None = None
        self._reason: str | None = None
        self._beats = 0

    @property
    def pid(self) -> int | None:
        """The process's id, once it is started."""
        return self._process.pid

    async def start(self, timeout_s: float) -> None:
        """Spawn the process and wait until it takes requests. Raises `ProcessDied`."""
        await self._loop.run_in_executor(self._writer, self._spawn)
        self._loop.add_reader(self._process.sentinel, self._notice_death)
        self._reader.start()
        ready = await self._answer(self._ready, timeout_s, "starting")
        if isinstance(ready, CannotStart):
            raise ProcessDied(ready.reason)
        assert isinstance(ready, Ready)

    async def compute(self, batch: Batch, timeout_s: float) -> BatchReply:
        """Have a batch computed. Raises `ProcessDied`, also when late; `OSError` without memory."""
        number = self._free.pop()
        request = batch.request(next(self._numbers), number)
        self._batches[request.id] = request
        try:
            reply = await self._exchange(
                request,
                timeout_s,
                "computing a batch",
                lambda: batch.write(request, self._blocks[number]),
            )
        finally:
            del self._batches[request.id]
            self._free.append(number)
        assert isinstance(reply, BatchReply)
        return reply

    async def load(
        self, key: CheckpointKey, timeout_s: float, known: Known | None = None
    ) -> LoadReply:
        """Have a checkpoint brought onto the device. Raises `ProcessDied`, also when late."""
        request = Load(next(self._numbers), key, known)
        reply = await self._exchange(request, timeout_s, f"loading {key}")
        assert isinstance(reply, LoadReply)
        return reply

    async def unload(self, key: CheckpointKey, timeout_s: float) -> UnloadReply:
        """Have a checkpoint freed. Raises `ProcessDied`, also when late."""
        request = Unload(next(self._numbers), key)
        reply = await self._exchange(request, timeout_s, f"unloading {key}")
        assert isinstance(reply, UnloadReply)
        return reply

    async def wait_dead(self) -> str:
        """Wait until the process has ended, and return how."""
        return await asyncio.shield(self._death)

    async def watch(self, silence_s: float) -> None:
        """End the process when it gives no sign of life for so long.

        What counts is the number of looks without a beat between them: a service that was itself
        held still, or whose clock jumped, does not take that for its worker's silence.
        """
        silent, known = 0, self._beats
        while silent < _TICKS:
            await asyncio.sleep(silence_s / _TICKS)
            silent = silent + 1 if self._beats == known else 0
            known = self._beats
        self._kill(f"gave no sign of life for {silence_s:g} s, so killed")

    async def stop(self, grace_s: float) -> None:
        """End the process and free everything: ask an idle one by closing the pipe, kill others."""
        if self._waiting or not self._ready.done():
            self._kill("stopped")
        self._child_end.close()
        if self._process.pid is not None:
            self._loop.remove_reader(self._process.sentinel)
            if self._burial is not None:
                await self._burial
            await asyncio.to_thread(self._end, grace_s)
        self._connection.close()
        for block in self._blocks:
            block.close()
        self._writer.shutdown(wait=False)
        self._fail_waiting("stopped")
        self._ready.cancel()

    def _spawn(self) -> None:
        self._process.start()
        self._child_end.close()  # else the pipe would stay open here when the process dies

    def _end(self, grace_s: float) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(grace_s)
        self._process.kill()
        self._process.join()
        if self._reader.ident is not None:
            self._reader.join()
        self._process.close()

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._process.pid is not None:
            self._process.kill()

    def _notice_death(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._burial = self._loop.create_task(self._bury())

    async def _bury(self) -> None:
        """Take note of a death, after all that the process said before."""
        await asyncio.to_thread(self._reader.join, _LAST_WORDS_S)
        await asyncio.to_thread(self._process.join)
        reason = self._reason or f"ended, exit code {self._process.exitcode}"
        if not self._death.done():
            self._death.set_result(reason)
        self._fail_waiting(reason)

    def _fail_waiting(self, reason: str) -> None:
        for future in (self._ready, *self._waiting.values()):
            if not future.done():
                future.set_exception(ProcessDied(reason))
                future.exception()  # whoever waited may have left

    async def _exchange(
        self,
        request: Request,
        timeout_s: float,
        doing: str,
        prepare: Callable[[], None] = lambda: None,
    ) -> object:
        if self._death.done():
            raise ProcessDied(self._death.result())
        answer: asyncio.Future[object] = self._loop.create_future()
        self._waiting[request.id] = answer

        def send() -> None:
            prepare()
            # A broken pipe is no news: the process's end is noticed by itself.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.send(request)

        try:
            await self._loop.run_in_executor(self._writer, send)
            return await self._answer(answer, timeout_s, doing)
        finally:
            del self._waiting[request.id]

    async def _answer(self, answer: asyncio.Future[object], timeout_s: float, doing: str) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            reason = f"silent for {timeout_s:g} s while {doing}, so killed"
            self._kill(reason)
            raise ProcessDied(reason) from error

    def _read(self) -> None:
        """Take what the worker sends until it ends; runs in the reader's thread."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                return
            if isinstance(message, Beat):
                self._beats += 1
                continue
            if isinstance(message, BatchReply):
                message = self._with_maps(message)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._resolve, message)

    def _resolve(self, message: object) -> None:
        number = getattr(message, "id", None)
        future = self._ready if number is None else self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(message)

    def _with_maps(self, reply: BatchReply) -> BatchReply:
        """Copy the maps out of their block, which another batch will overwrite."""
        request = self._batches.get(reply.id)
        if request is None or not request.map_shapes:
            return reply
        block = self._blocks[request.block]
        maps = iter(block.maps(request.map_shapes, request.map_offsets))
        outcomes = []
        for item, outcome in zip(request.items, reply.outcomes, strict=True):
            scores = next(maps).copy() if item.wants_map else None
            if isinstance(outcome, Finding):
                outcome = replace(outcome, pixel_scores=scores)  # noqa: PLW2901
            outcomes.append(outcome)
        return replace(reply, outcomes=tuple(outcomes))
