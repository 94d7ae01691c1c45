"""Measures each scan backend's state updates a second, forward and backward.

    python benchmarks/scan.py --json benchmarks/results/scan-cpu.json

One state update is one h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t of one state of one channel
in one direction. The default shape is an HSS block of the paper's middle stage: 32 x 32 positions,
256 inner channels, 8 directions, 16 states. "backward" times the gradients alone. The slow
reference backend takes seconds a scan and is timed at most 3 times.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from model.benchmark import device_name, versions
from model.errors import BackendUnavailable
from model.scan import BACKENDS, hybrid_scan, order_table

WARM_UP = 2
SLOW_REPEATS = 3


@dataclass(frozen=True)
class Shape:
    """b batch, L = side x side positions, D channels, K directions, N states, R rank of delta."""

    b: int
    side: int
    D: int
    K: int
    N: int
    R: int

    @property
    def updates(self) -> int:
        """Return the state updates of one scan."""
        return self.b * self.side**2 * self.D * self.K * self.N

    def inputs(self, device: str) -> list[Tensor]:
        """Return random u, selection, A, D, dt_weight and dt_bias, distributed as in a network."""
        generator = torch.Generator().manual_seed(0)
        L = self.side**2

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        tensors = [
            normal(self.b, L, self.D),
            normal(self.b, L, self.K, self.R + 2 * self.N) * 0.5,
            -torch.exp(normal(self.K, self.D, self.N)),
            normal(self.K, self.D),
            normal(self.K, self.D, self.R) * 0.5,
            normal(self.K, self.D) - 2,
        ]
        return [tensor.to(device) for tensor in tensors]


@dataclass(frozen=True)
class Result:
    """Milliseconds of one pass, and state updates a second at the p50."""

    backend: str
    direction: str
    repeats: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    updates_per_second: float


def main(
    device: str = "cpu",
    backend: Annotated[list[str] | None, typer.Option(help="By default all that can run.")] = None,
    batch: int = 1,
    side: int = 32,
    channels: int = 256,
    directions: int = 8,
    states: int = 16,
    repeats: Annotated[int, typer.Option(min=2)] = 10,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print the time and the rate of each backend, forward and backward, and write JSON."""
    shape = Shape(batch, side, channels, directions, states, max(1, channels // 32))
    print(f"{device} ({device_name(device)}), {torch.get_num_threads()} threads")
    print(", ".join(f"{package} {version}" for package, version in versions().items()))
    print(f"{shape.updates / 1e6:.1f} million state updates a scan: {shape}")
    names = backend or [name for name in BACKENDS if runs(name, shape, device)]
    results = [r for name in names for r in time_backend(name, shape, device, repeats)]
    for r in results:
        print(
            f"{r.backend:10} {r.direction:9} p50 {r.p50_ms:9.2f} ms  p95 {r.p95_ms:9.2f} ms  "
            f"p99 {r.p99_ms:9.2f} ms  {r.updates_per_second / 1e9:7.3f} billion updates/s"
        )
    if json_file is not None:
        about = {
            "device": device,
            "device_name": device_name(device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "shape": asdict(shape),
            "updates": shape.updates,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        values = about | {"results": [asdict(result) for result in results]}
        json_file.write_text(json.dumps(values, indent=2) + "\n")


def runs(backend: str, shape: Shape, device: str) -> bool:
    """Return whether a backend supports such inputs on the device; tries four positions."""
    small = replace(shape, b=1, side=2)
    order = torch.from_numpy(order_table("hilbert", shape.K, 2, 2).copy()).to(device)
    try:
        hybrid_scan(*small.inputs(device), order, backend=backend)
    except BackendUnavailable as error:
        print(f"{backend}: {error}")
        return False
    return True


def time_backend(backend: str, shape: Shape, device: str, repeats: int) -> list[Result]:
    """Time the scan without gradients, and then its gradients alone."""
    if backend == "reference":
        repeats = min(repeats, SLOW_REPEATS)
    inputs = shape.inputs(device)
    table = order_table("hilbert", shape.K, shape.side, shape.side)
    order = torch.from_numpy(table.copy()).to(device)
    tracked = [tensor.clone().requires_grad_() for tensor in inputs]

    def forward() -> float:
        with torch.no_grad():
            return clocked(lambda: hybrid_scan(*inputs, order, backend=backend), device)

    def backward() -> float:
        loss = hybrid_scan(*tracked, order, backend=backend).sum()
        return clocked(loss.backward, device)

    return [
        summarise(backend, "forward", forward, shape, repeats),
        summarise(backend, "backward", backward, shape, repeats),
    ]


def clocked(work: Callable[[], object], device: str) -> float:
    """Return the seconds of some work, including the device's queue."""
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def summarise(
    backend: str, direction: str, once: Callable[[], float], shape: Shape, repeats: int
) -> Result:
    """Repeat a timing after a warm-up."""
    # The reference compiles nothing.
    warm_up = 0 if backend == "reference" else WARM_UP
    seconds = [once() for _ in range(warm_up + repeats)][warm_up:]
    p50, p95, p99 = (1000 * float(s) for s in np.percentile(seconds, (50, 95, 99)))
    return Result(backend, direction, repeats, p50, p95, p99, 1000 * shape.updates / p50)


if __name__ == "__main__":
    typer.run(main)
