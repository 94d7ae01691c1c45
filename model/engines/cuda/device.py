"""The device as the engine sees it: one stream, graphs with one memory, pinned host buffers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakSet

import torch
from torch import Tensor

Work = Callable[[], Sequence[Tensor]]
"""Something to be captured: it reads tensors that stay where they are, and returns its outputs."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Captured:
    """Work that `replay` does again, writing into the same `outputs`; `graph` holds its memory."""

    replay: Callable[[], None]
    outputs: Sequence[Tensor]
    graph: object


@runtime_checkable
class Mark(Protocol):
    """A point in the stream's work."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""

    def elapsed_time(self, end: Any) -> float:
        """Return the milliseconds from here to a later mark, both passed."""


@runtime_checkable
class Device(Protocol):
    """Where an engine computes."""

    @property
    def torch_device(self) -> torch.device:
        """The device in torch's words."""

    def running(self) -> Any:
        """Return a context in which work goes to this device's stream."""

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return host memory that the device copies from and to by itself."""

    def mark(self) -> Mark:
        """Mark what has been asked of the stream so far."""

    def capture(self, work: Work) -> Captured:
        """Record work to be replayed. Raises `RuntimeError` where that cannot be done."""

    def check(self) -> None:
        """Raise `RuntimeError` where the device does not answer any more."""


class GraphMemory:
    """The memory that all graphs of one device share.

    They are replayed one after the other, by one thread, and what one has put out is copied away
    before the next begins: each may write over the others' intermediate results. So a device with
    many networks holds the activations of the largest alone.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._users: WeakSet[Captured] = WeakSet()

    @property
    def handle(self) -> Any:
        """The pool to capture into.

        torch refuses a pool whose last graph is gone, so that a new one is begun then.
        """
        if self._handle is None or not self._users:
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle

    def note(self, captured: Captured) -> None:
        """Take note of a graph in the pool."""
        self._users.add(captured)


class CudaDevice:
    """A CUDA device, for one thread."""

    def __init__(self, name: str) -> None:
        self._device = torch.device(name)
        self._memory = GraphMemory()
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    @property
    def torch_device(self) -> torch.device:
        """The device in torch's words."""
        return self._device

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send work to this device's stream."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return page-locked memory."""
        return torch.empty(*shape, dtype=dtype, pin_memory=True)

    def mark(self) -> Mark:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def capture(self, work: Work) -> Captured:
        """Capture a CUDA graph; other threads may go on using the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        pool = self._memory.handle
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            outputs = work()
        captured = Captured(graph.replay, outputs, graph)
        self._memory.note(captured)
        return captured

    def check(self) -> None:
        """Ask for something small: after some errors a device never answers again."""
        torch.zeros(1, device=self._device).item()


class _Moment:
    """A point in time, on a CPU: what was asked for before is done."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is left to wait for."""

    def elapsed_time(self, end: "_Moment") -> float:
        """Milliseconds to a later moment."""
        return 1000 * (end._at - self._at)


class CpuDevice:
    """A rehearsal on the CPU: the engine's every step, buffers and replays too, without a GPU."""

    @property
    def torch_device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Change nothing."""
        yield

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return plain memory."""
        return torch.empty(*shape, dtype=dtype)

    def mark(self) -> Mark:
        """Take the time."""
        return _Moment()

    def capture(self, work: Work) -> Captured:
        """Do the work, and do it again at every replay, into the same tensors."""
        outputs = [tensor.clone() for tensor in work()]

        def replay() -> None:
            for output, again in zip(outputs, work(), strict=True):
                output.copy_(again)

        return Captured(replay, outputs, None)

    def check(self) -> None:
        """Answer."""
