"""The bridge process: carries a service's jobs to the workers' actors, and their reports back.

It alone knows Ray, whose library ends a process that has lost the cluster. The service then starts
another bridge. It ends with the service, when their socket closes.
"""

import asyncio
import math
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.cluster.channel import MAX_UNREAD_BYTES, receive, send
from service.cluster.messages import (
    Answered,
    Cancel,
    CannotJoin,
    ClusterPlan,
    Connected,
    FromBridge,
    Hello,
    Inspect,
    LoadEverywhere,
    Measured,
    Parted,
    Presence,
    Replied,
    Reported,
    Roster,
    UnloadEverywhere,
    Unreachable,
)
from service.cluster.remote.address import knock
from service.errors import CheckpointUnavailable, ServiceError
from service.settings.environment import silence_ray
from service.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from service.cluster.remote.connection import Connection

_JOIN_EVERY_S = 1.0
_LOOK_EVERY_S = 1.0
_REPORT_EVERY_S = 0.2
_MEASURE_EVERY_S = 2.0
_MANAGER_S = 5.0


def main() -> None:
    """Serve the socket whose number is the only argument, until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the service handles them
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)  # Ray's own end waits for seconds


async def _serve(end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end, limit=MAX_UNREAD_BYTES)
    try:
        hello = await receive(reader)
        assert isinstance(hello, Hello)
        configure_logging(hello.plan.logs.log_level, hello.plan.logs.log_format)
        try:
            connection = await asyncio.to_thread(_join, hello.plan)
        except CannotJoin as error:
            send(writer, Parted(str(error)))
            await writer.drain()
            return
        await Bridge(reader, writer, connection, hello.presence).run()
    except (asyncio.IncompleteReadError, ConnectionError):
        return


def _join(plan: ClusterPlan) -> "Connection":
    assert plan.cluster.address is not None
    try:
        knock(plan.cluster.address)
    except (OSError, ValueError) as error:
        raise CannotJoin(f"no Ray head answers at {plan.cluster.address}: {error}") from error
    silence_ray()
    try:
        # Imported here, in a thread and after the line above, because it imports Ray.
        from service.cluster.remote.connection import Connection  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CannotJoin(
            f"{error.name} is not installed: pip install 'mambaad-service[cluster]'"
        ) from error
    return Connection(plan)


class Bridge:
    """Serves one service."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: "Connection",
        presence: Presence,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = connection
        self._presence = presence
        self._workers: dict[str, Any] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._is_joined = True

    async def run(self) -> None:
        """Carry messages until the service closes the socket, or the cluster is lost."""
        self._send(Connected())
        joining = asyncio.create_task(self._keep_joining())
        reading = asyncio.create_task(self._read())
        looking = asyncio.create_task(self._await_loss())
        try:
            await asyncio.wait({reading, looking}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                self._send(Parted(looking.result()))
                await self._writer.drain()
            else:
                await self._connection.leave(self._presence.service)
        finally:
            for task in (joining, reading, looking):
                task.cancel()

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self._take(await receive(self._reader))

    async def _await_loss(self) -> str:
        """Return why the cluster cannot be used any more, once that is so.

        While the head is only away, workers go on without it.
        """
        while self._connection.has_node():
            if not self._is_joined and not await asyncio.to_thread(self._connection.has_head):
                return "Ray's head was restarted: it has begun another cluster"
            await asyncio.sleep(_LOOK_EVERY_S)
        return "Ray on this machine has ended"

    def _send(self, message: FromBridge) -> None:
        send(self._writer, message)

    def _take(self, message: object) -> None:
        match message:
            case Inspect(number):
                task = asyncio.create_task(self._inspect(message))
                self._jobs[number] = task
                task.add_done_callback(lambda _: self._jobs.pop(number, None))
            case Cancel(number):
                if number in self._jobs:
                    self._jobs[number].cancel()
            case LoadEverywhere(number, key):
                self._beside(self._manage(number, self._connection.manager.load.remote(key)))
            case UnloadEverywhere(number, key):
                self._beside(self._manage(number, self._connection.manager.unload.remote(key)))
            case Presence():
                self._presence = message

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _inspect(self, request: Inspect) -> None:
        worker = self._workers.get(request.worker)
        result: Answered | Unreachable
        if worker is None:
            result = Unreachable(f"worker {request.worker} has ended")
        else:
            result = await self._connection.answer(
                worker.inspect.remote(self._presence.service, request.job)
            )
        self._send(Replied(request.id, result))

    async def _manage(self, number: int, reference: Any) -> None:  # noqa: ANN401
        result = await self._connection.answer(reference)
        if isinstance(result, Unreachable):
            result = CheckpointUnavailable(f"the cluster's manager: {result.reason}")
        assert result is None or isinstance(result, dict | ServiceError)
        self._send(Replied(number, result))

    async def _keep_joining(self) -> None:
        """Join again and again, so that the manager knows the service and it the workers."""
        roster = Roster()
        while True:
            try:
                async with asyncio.timeout(_MANAGER_S):
                    roster, self._workers = await self._connection.join(self._presence)
                self._is_joined = True
                self._send(roster)
                self._watch()
            except (TimeoutError, CannotJoin) as error:
                self._is_joined = False
                why = str(error) or "the cluster's manager does not answer"
                self._send(replace(roster, problem=why))
            await asyncio.sleep(_JOIN_EVERY_S)

    def _watch(self) -> None:
        for name in self._watching.keys() - self._workers.keys():
            self._watching.pop(name).cancel()
        for name in self._workers.keys() - self._watching.keys():
            self._watching[name] = asyncio.create_task(self._report(name))

    async def _report(self, name: str) -> None:
        """Carry a worker's reports, and its metrics if it is on this node."""
        clock = asyncio.get_running_loop()
        measured_at = -math.inf
        while True:
            answer = await self._connection.answer(self._workers[name].report.remote())
            if isinstance(answer, Unreachable):
                self._send(Reported(name, None, answer.reason))
            else:
                self._send(Reported(name, answer))
                is_due = clock.time() - measured_at >= _MEASURE_EVERY_S
                if is_due and answer.node_id == self._connection.node_id:
                    measured_at = clock.time()
                    measures = await self._connection.answer(self._workers[name].measure.remote())
                    if not isinstance(measures, Unreachable):
                        self._send(Measured(name, measures))
            await asyncio.sleep(_REPORT_EVERY_S)


if __name__ == "__main__":
    main()
