"""Measures the device's limits: bytes a second, and matrix products by precision."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.gpu_parts.clock import timed
from model.engines.cuda.device import Device
from model.engines.cuda.plan import matrix_precision

_EXPONENTIALS_A_CYCLE = 16  # special function units of a multiprocessor, Volta to Hopper
_FLOPS_A_CYCLE = 256  # 128 float32 lanes, each with a fused multiply-add, Ampere to Hopper


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates a second. `exponentials` and `flops` are computed from the clock rate, if known."""

    copied_bytes: float
    matrix_flops: dict[str, float]
    exponentials: float | None
    flops: float | None


def ceilings(device: Device, megabytes: int, side: int, repeats: int) -> Ceilings:
    """Measure with a copy of `megabytes`, and matrix products of `side` x `side`."""
    where = device.torch_device
    with torch.inference_mode(), device.running():
        source = torch.randint(0, 256, (megabytes << 20,), dtype=torch.uint8, device=where)
        target = torch.empty_like(source)
        copy = timed(lambda: target.copy_(source), device, repeats)
        products = dict(_products(device, side, repeats))
    exponentials, flops = _by_clock(where)
    return Ceilings(2 * source.nbytes / copy.p50_ms * 1e3, products, exponentials, flops)


def _products(device: Device, side: int, repeats: int) -> Iterator[tuple[str, float]]:
    kinds = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16,
             "float16": torch.float16}  # fmt: skip
    for name, dtype in kinds.items():
        a, b = torch.randn(2, side, side, device=device.torch_device).to(dtype)
        with matrix_precision(name):
            took = timed(lambda a=a, b=b: a @ b, device, repeats)
        yield name, 2 * side**3 / took.p50_ms * 1e3


def _by_clock(where: torch.device) -> tuple[float | None, float | None]:
    if where.type != "cuda":
        return None, None
    properties = torch.cuda.get_device_properties(where)
    kilohertz = getattr(properties, "clock_rate", None)
    if kilohertz is None:
        return None, None
    cycles = properties.multi_processor_count * kilohertz * 1e3
    return _EXPONENTIALS_A_CYCLE * cycles, _FLOPS_A_CYCLE * cycles
