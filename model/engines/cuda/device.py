"""The engine's view of a device: one stream, graphs with shared memory, pinned host buffers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakSet

import torch
from torch import Tensor

Work = Callable[[], Sequence[Tensor]]
"""Work to capture: reads tensors at fixed addresses and returns its outputs."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Captured:
    """Work that `replay` repeats, writing into the same `outputs`; `graph` holds its memory."""

    replay: Callable[[], None]
    outputs: Sequence[Tensor]
    graph: object


@runtime_checkable
class Mark(Protocol):
    """A point in the stream."""

    def synchronize(self) -> None:
        """Wait until the device has reached it."""

    def elapsed_time(self, end: Any) -> float:
        """Return the milliseconds to a later mark; the device has passed both."""


@runtime_checkable
class Device(Protocol):
    """A device that an engine computes on."""

    @property
    def torch_device(self) -> torch.device:
        """The torch device."""

    def running(self) -> Any:
        """Return a context that sends work to this device's stream."""

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return host memory for asynchronous copies from and to the device."""

    def mark(self) -> Mark:
        """Mark the end of the work in the stream so far."""

    def capture(self, work: Work) -> Captured:
        """Record work to replay. Raises `RuntimeError` if that fails."""

    def check(self) -> None:
        """Raise `RuntimeError` if the device no longer works."""


class GraphMemory:
    """The memory that all graphs of one device share.

    One thread replays them one after the other, and copies a graph's outputs before the next one
    starts, so each may overwrite the others' intermediate results. A device with many networks thus
    holds only the activations of the largest.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._users: WeakSet[Captured] = WeakSet()

    @property
    def handle(self) -> Any:
        """The pool to capture into; a new one if no graph is left, as torch refuses the old one."""
        if self._handle is None or not self._users:
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle

    def note(self, captured: Captured) -> None:
        """Register a graph that uses the pool."""
        self._users.add(captured)


class CudaDevice:
    """A CUDA device, for one thread."""

    def __init__(self, name: str) -> None:
        self._device = torch.device(name)
        self._memory = GraphMemory()
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    @property
    def torch_device(self) -> torch.device:
        """The torch device."""
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
        """Run a small operation: after some errors a device fails for good."""
        torch.zeros(1, device=self._device).item()


class _Moment:
    """A point in time on a CPU, where earlier work is already done."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Return at once."""

    def elapsed_time(self, end: "_Moment") -> float:
        """Return the milliseconds to a later moment."""
        return 1000 * (end._at - self._at)


class CpuDevice:
    """A CPU as stand-in for a GPU: runs every step of the engine, buffers and replays too."""

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
        """Return the current time."""
        return _Moment()

    def capture(self, work: Work) -> Captured:
        """Do the work, and repeat it into the same tensors at every replay."""
        outputs = [tensor.clone() for tensor in work()]

        def replay() -> None:
            for output, again in zip(outputs, work(), strict=True):
                output.copy_(again)

        return Captured(replay, outputs, None)

    def check(self) -> None:
        """Return: a CPU always works."""
