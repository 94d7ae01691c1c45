"""Times the scan: ours, the published way, and the floor.

b  batch    L  positions    K  directions    D  channels    N  states    R  rank of delta
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_parts.ceilings import Ceilings
from benchmarks.gpu_parts.clock import timed_as_graph
from benchmarks.gpu_parts.yardsticks import Scan
from model.engines.cuda.device import Device
from model.engines.cuda.operations import has_triton
from model.scan import hybrid_scan, order_table

_FLOPS_AN_UPDATE = 6
"""delta A, delta B u, decay times state plus input, C times state; without the exponential."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One decoder stage's scans: `blocks` of them, on maps of `side` x `side`."""

    side: int
    D: int
    R: int
    blocks: int
    K: int = 8
    N: int = 16

    def updates(self, b: int) -> int:
        """Return the state updates of one scan."""
        return b * self.side**2 * self.D * self.K * self.N

    def inputs(self, b: int, dtype: torch.dtype, where: torch.device) -> list[Tensor]:
        """Return random arguments of `hybrid_scan`, distributed as in a network."""
        generator = torch.Generator().manual_seed(0)
        L, row = self.side**2, self.R + 2 * self.N

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(where)

        order = torch.from_numpy(order_table("hilbert", self.K, self.side, self.side).copy())
        return [
            normal(b, L, self.D).to(dtype),
            (normal(b, L, self.K, row) * 0.5).to(dtype),
            -torch.exp(normal(self.K, self.D, self.N)),
            normal(self.K, self.D),
            normal(self.K, self.D, self.R) * 0.5,
            normal(self.K, self.D) - 2,
            order.to(where),
        ]


PAPER = (Stage(8, 1024, 32, 3), Stage(16, 512, 16, 4), Stage(32, 256, 8, 6), Stage(64, 128, 4, 3))
"""The stages of the paper's configuration at 256 x 256, coarse to fine."""
TINY = (Stage(2, 8, 1, 1, 2, 2),)
"""For a dry run."""


def compare_scans(
    stages: tuple[Stage, ...],
    batch_sizes: tuple[int, ...],
    yardsticks: dict[str, Scan],
    limits: Ceilings,
    device: Device,
    repeats: int,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch size and stage: times and error of every way, and the floor."""
    for b in batch_sizes:
        for stage in stages:
            ways = dict(_ours(stage, b, device, repeats))
            inputs = stage.inputs(b, torch.float32, device.torch_device)
            expected = hybrid_scan(*inputs)
            for name, scan in yardsticks.items():
                difference = _check(scan(*inputs), expected, name)
                took = timed_as_graph(lambda s=scan, i=inputs: s(*i), device, repeats)
                ways[name] = asdict(took) | {"difference": difference}
            yield {
                "batch_size": b,
                "stage": asdict(stage),
                "updates": stage.updates(b),
                "floor_ms": floor_ms(stage, b, inputs, limits),
                "ways": ways,
            }


def _ours(
    stage: Stage, b: int, device: Device, repeats: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Time our kernels; without Triton, the fastest backend in float32 only."""
    exact = hybrid_scan(*stage.inputs(b, torch.float32, device.torch_device))
    backend = "cuda" if has_triton() else "auto"
    for dtype in (torch.float32, torch.bfloat16, torch.float16)[: 3 if has_triton() else 1]:
        inputs = stage.inputs(b, dtype, device.torch_device)
        name = f"ours, {str(dtype).removeprefix('torch.')}"
        tolerance = 1e-3 if dtype == torch.float32 else 0.05
        difference = _check(hybrid_scan(*inputs, backend=backend), exact, name, tolerance)
        took = timed_as_graph(lambda i=inputs: hybrid_scan(*i, backend=backend), device, repeats)
        yield name, asdict(took) | {"difference": difference}


def floor_ms(
    stage: Stage, b: int, inputs: list[Tensor], limits: Ceilings
) -> dict[str, float | None]:
    """Return lower bounds of a float32 scan: by bytes, by flops and by exponentials."""
    moved = sum(tensor.nbytes for tensor in inputs) + inputs[0].nbytes
    updates = stage.updates(b)
    return {
        "bytes": 1e3 * moved / limits.copied_bytes,
        "flops": _time_ms(_FLOPS_AN_UPDATE * updates, limits.flops),
        "exponentials": _time_ms(updates, limits.exponentials),
    }


def _time_ms(count: float, rate: float | None) -> float | None:
    return None if rate is None else 1e3 * count / rate


def network_ms(rows: list[dict[str, Any]], b: int) -> dict[str, float]:
    """Return the total time of all scans of one batch, for each way."""
    total: dict[str, float] = {}
    for row in rows:
        if row["batch_size"] == b:
            for name, way in row["ways"].items():
                total[name] = total.get(name, 0.0) + row["stage"]["blocks"] * way["p50_ms"]
    return total


def _check(actual: Tensor, expected: Tensor, name: str, tolerance: float = 1e-3) -> float:
    """Return the relative norm of a difference. Raises `ArithmeticError` above `tolerance`."""
    difference = float((actual.float() - expected).norm() / expected.norm())
    if not difference <= tolerance:
        raise ArithmeticError(f"{name} differs by {difference:.1e}, over {tolerance:.0e}")
    return difference
