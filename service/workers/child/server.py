"""The worker's process: receives requests from one pipe and answers them.

It is spawned, never forked. One thread receives requests, one loads checkpoints, one sends
heartbeats, and the main thread computes batches and warm-up passes, or passes them to lanes. The
process ends when the pipe closes or the service's process dies, even while it computes.

A spare does all of this at low priority until it is told to take over.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue

from model.checkpoints.store import Store
from model.errors import BackendUnavailable
from model.imports.meta_kernels import leave_out_meta_kernels
from model.runtimes.runtimes import Runtimes
from service.telemetry.logs import configure_logging
from service.workers.child.ceiling import set_ceiling
from service.workers.child.ending import leave_with_parent, or_die
from service.workers.child.inspector import Inspector
from service.workers.child.priority import FirstToEnd, at_low_priority, lower_priority
from service.workers.child.rest import Rest
from service.workers.child.threads import DeviceThread
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import (
    BatchRequest,
    Beat,
    CannotStart,
    Load,
    Ready,
    TakeOver,
    Unload,
    WorkerPlan,
)

logger = logging.getLogger("service.child")


def run(connection: Connection, plan: WorkerPlan, blocks: Sequence[SharedBlock]) -> None:
    """Serve requests from the pipe until it closes; the entry point of the spawned process."""
    leave_with_parent()
    configure_logging(plan.log_level, plan.log_format)
    set_ceiling(plan.max_memory_bytes)
    if plan.device == "cpu":  # not tried with CUDA graphs, which use a generator
        leave_out_meta_kernels()
    first_to_end = FirstToEnd() if plan.is_spare else None
    try:
        if plan.is_spare:
            at_low_priority(lambda: _prepared(plan))  # so that the main thread need not import
        runtimes = _prepared(plan)
    except (BackendUnavailable, ImportError) as error:
        connection.send(CannotStart(str(error)))
        return
    gc.collect()
    gc.freeze()  # imported modules stay: collecting them again would delay batches
    InspectorServer(connection, plan, blocks, runtimes, first_to_end).serve()
    os._exit(0)  # do not wait for a checkpoint that is still loading


def _prepared(plan: WorkerPlan) -> Runtimes:
    runtimes = Runtimes(
        plan.device, plan.backend, plan.threads, plan.precision, graphs=plan.cuda_graphs
    )
    runtimes.prepare(Store(plan.weights_dir).manifests())
    return runtimes


class InspectorServer:
    """The threads of a worker, which share an inspector and the pipe.

    `first_to_end` is that of a spare.
    """

    def __init__(
        self,
        connection: Connection,
        plan: WorkerPlan,
        blocks: Sequence[SharedBlock],
        runtimes: Runtimes,
        first_to_end: FirstToEnd | None = None,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._sending = threading.Lock()
        self._device = DeviceThread(plan.lanes, in_background=plan.is_spare)
        self._first_to_end = first_to_end
        self._is_spare = plan.is_spare
        self._runtimes = runtimes
        self._loads: SimpleQueue[Load | Unload] = SimpleQueue()
        self._rest = Rest()
        self._inspector = Inspector(plan, blocks, self._device, runtimes)

    def serve(self) -> None:
        """Answer requests until the pipe closes."""
        self._send(Ready(os.getpid()))
        for work in (self._beat, self._receive, self._load):
            threading.Thread(target=or_die(work), name=work.__name__, daemon=True).start()
        or_die(self._device.run)()

    def _receive(self) -> None:
        while True:
            try:
                request = self._connection.recv()
            except (EOFError, OSError):
                request = None
            if request is None:
                self._device.end()
                return
            if isinstance(request, TakeOver):
                self._take_over()
            elif isinstance(request, BatchRequest):
                compute = partial(self._compute, request, time.monotonic())
                self._device.post(or_die(compute), alone=request.alone)
            else:
                self._loads.put(request)

    def _take_over(self) -> None:
        self._is_spare = False
        if self._first_to_end is not None:
            self._first_to_end.withdraw()
        self._device.come_forward()
        # Pools of threads that a spare has started keep its low priority.
        self._device.post(or_die(self._runtimes.renew_threads))

    def _compute(self, request: BatchRequest, received: float) -> None:
        self._rest.interrupt()
        waited_s = time.monotonic() - received
        self._send(replace(self._inspector.inspect(request), waited_s=waited_s))

    def _load(self) -> None:
        while True:
            request = self._loads.get()
            # A thread that has used torch keeps OpenMP's helper threads until it ends. With more
            # helpers than cores, those of the device thread sleep between operators, which doubles
            # the time of an image. So each load gets a new thread.
            answer = partial(self._answer, request)
            thread = threading.Thread(target=or_die(answer), name="load")
            thread.start()
            thread.join()

    def _answer(self, request: Load | Unload) -> None:
        if self._is_spare and self._runtimes.renews_threads:
            lower_priority()
        if isinstance(request, Load):
            self._send(self._inspector.load(request))
        else:
            self._send(self._inspector.unload(request))

    def _beat(self) -> None:
        while True:
            self._send(Beat())
            self._rest.tick()
            time.sleep(self._plan.heartbeat_s)

    def _send(self, message: object) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:  # `_receive` notices it, too, and ends the process
            logger.debug("the service has closed the pipe")
