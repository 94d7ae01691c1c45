"""The event loop's side of a worker's process: start, exchange messages, watch, end."""

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
from service.workers.child.server import run
from service.workers.jobs import Batch
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import (
    BatchReply,
    BatchRequest,
    Beat,
    CannotStart,
    Finding,
    Load,
    LoadReply,
    PriorLoad,
    Ready,
    Request,
    TakeOver,
    Unload,
    UnloadReply,
    WorkerPlan,
)

logger = logging.getLogger("service.process")

R = TypeVar("R")

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy locked locks and CUDA's state
_LAST_WORDS_S = 1.0
_TICKS = 5
"""Checks for a heartbeat within the longest allowed silence."""


class ProcessDied(Exception):
    """The worker's process has died; the message says how."""


class WorkerProcess:
    """One spawned inspector, with its pipe and shared memory.

    Several exchanges can run at once, among them a batch for each lane. One thread reads the pipe
    and one writes to it, so that the event loop never blocks.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        self._connection, self._child_end = _SPAWN.Pipe()
        # Two blocks for each lane: the next batch is written while one is computed.
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
        """The process's id; None before it is started."""
        return self._process.pid

    async def start(self, timeout_s: float) -> None:
        """Spawn the process and wait until it is ready for requests. Raises `ProcessDied`."""
        await self._loop.run_in_executor(self._writer, self._spawn)
        self._loop.add_reader(self._process.sentinel, self._notice_death)
        self._reader.start()
        ready = await self._answer(self._ready, timeout_s, "starting")
        if isinstance(ready, CannotStart):
            raise ProcessDied(f"its process cannot start: {ready.reason}")
        assert isinstance(ready, Ready)

    async def compute(self, batch: Batch, timeout_s: float) -> BatchReply:
        """Compute a batch. Raises `ProcessDied`, also after the time-out; `OSError` for memory."""
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
        self, key: CheckpointKey, timeout_s: float, prior: PriorLoad | None = None
    ) -> LoadReply:
        """Load a checkpoint onto the device. Raises `ProcessDied`, also after the time-out."""
        request = Load(next(self._numbers), key, prior)
        reply = await self._exchange(request, timeout_s, f"loading {key}")
        assert isinstance(reply, LoadReply)
        return reply

    async def unload(self, key: CheckpointKey, timeout_s: float) -> UnloadReply:
        """Unload a checkpoint. Raises `ProcessDied`, also after the time-out."""
        request = Unload(next(self._numbers), key)
        reply = await self._exchange(request, timeout_s, f"unloading {key}")
        assert isinstance(reply, UnloadReply)
        return reply

    def take_over(self) -> None:
        """Let a spare process go on as a worker; does not wait for it."""
        self._writer.submit(self._tell, TakeOver())

    async def wait_dead(self) -> str:
        """Wait until the process has ended, and return how it ended."""
        return await asyncio.shield(self._death)

    async def watch(self, silence_s: float) -> None:
        """Kill the process after `silence_s` without a heartbeat.

        Counts checks without a new beat instead of comparing times, so that a suspended service or
        a clock that jumps does not kill healthy workers.
        """
        silent, last_beats = 0, self._beats
        while silent < _TICKS:
            await asyncio.sleep(silence_s / _TICKS)
            silent = silent + 1 if self._beats == last_beats else 0
            last_beats = self._beats
        self._kill(f"its process was killed: no heartbeat for {silence_s:g} s")

    async def stop(self, grace_s: float) -> None:
        """End the process and free its resources: ask an idle process, kill any other."""
        if self._waiting or not self._ready.done():
            self._kill("its process was stopped")
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
        self._fail_waiting("its process was stopped")
        self._ready.cancel()

    def _spawn(self) -> None:
        self._process.start()
        self._child_end.close()  # otherwise the pipe would stay open after the process has died

    def _tell(self, message: Request | TakeOver) -> None:
        # The sentinel reports the process's end.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)

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
        """Record the process's death, after its last messages have been read."""
        await asyncio.to_thread(self._reader.join, _LAST_WORDS_S)
        await asyncio.to_thread(self._process.join)
        reason = self._reason or f"its process exited with code {self._process.exitcode}"
        if not self._death.done():
            self._death.set_result(reason)
        self._fail_waiting(reason)

    def _fail_waiting(self, reason: str) -> None:
        for future in (self._ready, *self._waiting.values()):
            if not future.done():
                future.set_exception(ProcessDied(reason))
                future.exception()  # asyncio would log it if no caller waits any more

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
            self._tell(request)

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
            reason = f"its process was killed: no answer for {timeout_s:g} s while {doing}"
            self._kill(reason)
            raise ProcessDied(reason) from error

    def _read(self) -> None:
        """Read the worker's messages until it ends; runs in the reader's thread."""
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
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._resolve, message)

    def _resolve(self, message: object) -> None:
        number = getattr(message, "id", None)
        future = self._ready if number is None else self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(message)

    def _with_maps(self, reply: BatchReply) -> BatchReply:
        """Copy the maps out of the block, which the next batch will overwrite."""
        request = self._batches.get(reply.id)
        if request is None or not request.map_shapes:
            return reply
        block = self._blocks[request.block]
        maps = iter(block.maps(request.map_shapes, request.map_offsets))
        outcomes = []
        for item, outcome in zip(request.items, reply.outcomes, strict=True):
            place = next(maps) if item.has_place else None
            if isinstance(outcome, Finding) and item.sends_map(outcome.decision):
                assert place is not None
                outcome = replace(outcome, pixel_scores=place.copy())  # noqa: PLW2901
            outcomes.append(outcome)
        return replace(reply, outcomes=tuple(outcomes))
