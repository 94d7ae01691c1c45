"""The lower bound of an inspection's time: its arithmetic and bytes at this machine's best rates.

    python -m benchmarks.floor

Flops are those of matrix products and convolutions, plus 24 for each state update of the scan (a
polynomial exponential, three products and sums), at the rate of a large float32 matrix product.
Bytes are those that each product, convolution and scan must read and write once, at the rate of a
large copy. The floor is the larger of the two times.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import typer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.network import MambaAD, NetworkConfig
from model.network.blocks import HSS

UPDATE_FLOPS = 24
"""Flops of a state update: exp2 by a polynomial (16), and 8 for delta A, delta u B, h and C h."""

_SIDE = 2048
_COPIED = 256 * 2**20
_HEAVY = ("mm", "bmm", "conv", "linear", "hybrid_scan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One image's work, the machine's rates, and the resulting lower bound."""

    gemm_gflops: float
    copy_gbytes: float
    gflop: float
    state_updates: int
    gbytes: float
    arithmetic_ms: float
    memory_ms: float

    @property
    def floor_ms(self) -> float:
        """Return the larger of both times, since arithmetic and memory can overlap."""
        return max(self.arithmetic_ms, self.memory_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the floor as JSON values."""
        return asdict(self) | {"floor_ms": self.floor_ms}


class _Bytes(TorchDispatchMode):
    """Adds up the bytes that the heavy operators read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:  # fmt: skip
        result = func(*args, **(kwargs or {}))
        if any(part in str(func) for part in _HEAVY):
            leaves = tree_leaves((args, kwargs, result))
            self.total += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return result


@torch.no_grad()
def work(config: NetworkConfig, unused_scales: int = 0) -> tuple[float, int, float]:
    """Return the Gflop outside the scan, the state updates, and the Gbytes of one image.

    Leaves out the finest `unused_scales`.
    """
    network = MambaAD(config).eval()
    image = torch.zeros(1, 3, *config.image_size)
    updates = []
    for module in network.modules():
        if isinstance(module, HSS):
            module.register_forward_hook(
                lambda hss, *_: updates.append(hss.order.numel() * hss.A_log[0].numel())
            )
    with FlopCounterMode(display=False) as flops, _Bytes() as counted:
        network.reconstruct(network.encoder(image), unused_scales)
    return flops.get_total_flops() / 1e9, sum(updates), counted.total / 1e9


def measure_floor(
    config: NetworkConfig, unused_scales: int = 0, repeats: int = 8, side: int = _SIDE
) -> Floor:
    """Measure this machine's rates, and return the floor of one image."""
    gflop, updates, gbytes = work(config, unused_scales)
    a, b, out = (torch.rand(side, side) for _ in range(3))
    gemm = 2 * side**3 / _best(lambda: torch.mm(a, b, out=out), repeats) / 1e9
    source = torch.rand(_COPIED // 4 * side // _SIDE)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / _best(lambda: target.copy_(source), repeats) / 1e9
    return Floor(
        gemm_gflops=gemm,
        copy_gbytes=copy,
        gflop=gflop,
        state_updates=updates,
        gbytes=gbytes,
        arithmetic_ms=1e3 * (gflop + updates * UPDATE_FLOPS / 1e9) / gemm,
        memory_ms=1e3 * gbytes / copy,
    )


def _best(action: Callable[[], object], repeats: int) -> float:
    action()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Print the floor of the paper's configuration as JSON."""
    print(json.dumps(measure_floor(NetworkConfig()).to_dict(), indent=2))


if __name__ == "__main__":
    typer.run(main)
