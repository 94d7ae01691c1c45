"""Chooses the backend that scans: the seam between the network and the kernels."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from model.errors import BackendUnavailable
from model.scan import mamba_ssm, reference
from model.scan.numba import backend as cpu
from model.scan.numba.units import MULTIPLE

Scan: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _on_cpu(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Run the Numba kernels, with channels padded to a multiple of `MULTIPLE`."""
    if u.device.type != "cpu" or u.dtype != torch.float32:
        raise BackendUnavailable(
            f"the cpu scan takes float32 on the CPU, got {u.dtype} on {u.device}; "
            "use backend='auto'"
        )
    missing = -u.shape[2] % MULTIPLE
    if missing:
        u, D, dt_bias = (pad(x, (0, missing)) for x in (u, D, dt_bias))
        A, dt_weight = (pad(x, (0, 0, 0, missing)) for x in (A, dt_weight))
    y: Tensor = cpu.scan(u, selection, A, D, dt_weight, dt_bias, order)
    return y[..., : y.shape[2] - missing] if missing else y


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """Import the Triton kernels at the first scan that needs them: Triton is optional."""
    if find_spec("triton") is None:
        raise BackendUnavailable(
            "the cuda scan needs Triton, which comes with torch for CUDA, or: pip install triton"
        )
    return import_module("model.scan.triton")


def _on_cuda(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    reason = _kernels().refusal(u, A, dt_weight)
    if reason is not None:
        raise BackendUnavailable(f"the cuda scan takes {reason}; use backend='auto'")
    y: Tensor = _kernels().scan(u, selection, A, D, dt_weight, dt_bias, order)
    return y


def _on_mamba_ssm(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Run mamba_ssm's kernel on permuted copies, as the published code does."""
    if u.device.type != "cuda":
        raise BackendUnavailable(
            f"the mamba_ssm scan takes tensors on a CUDA device, got {u.device}; use backend='auto'"
        )
    return mamba_ssm.scan(u, selection, A, D, dt_weight, dt_bias, order)


def _fastest(u: Tensor, A: Tensor, dt_weight: Tensor) -> str:
    if u.device.type == "cpu" and u.dtype == torch.float32:
        return "cpu"
    if u.device.type == "cuda" and find_spec("triton") is not None:
        return "reference" if _kernels().refusal(u, A, dt_weight) else "cuda"
    return "reference"


BACKENDS: MappingProxyType[str, Scan] = MappingProxyType(
    {"reference": reference.scan, "cpu": _on_cpu, "cuda": _on_cuda, "mamba_ssm": _on_mamba_ssm}
)
"""The scan backends by name."""


def hybrid_scan(
    u: Float[Tensor, "b L D"],
    selection: Float[Tensor, "b L K S"],
    A: Float[Tensor, "K D N"],
    D: Float[Tensor, "K D"],
    dt_weight: Float[Tensor, "K D R"],
    dt_bias: Float[Tensor, "K D"],
    order: Int[Tensor, "K L"],
    backend: str | Scan = "auto",
) -> Float[Tensor, "b L D"]:
    """Scan `u` along every row of `order` and return the sum of the outputs by position.

    `selection` holds, for each position and direction, the R low-rank coefficients of delta, then
    the N values of B, then the N of C (S = R + 2 N). Per direction,

        delta_t = softplus(dt_weight @ dt_t + dt_bias)
        h_t     = exp(delta_t A) h_(t-1) + delta_t B_t u_t
        y_t     = C_t h_t + D u_t

    `A` is negative. `order` is int32 or int64, as `order_table` makes it. `backend` is one of
    `BACKENDS`, "auto" for the fastest one for the tensors' device and dtype, or a function to call
    instead (used by exports). Raises `BackendUnavailable`.
    """
    if not isinstance(backend, str):
        return backend(u, selection, A, D, dt_weight, dt_bias, order)
    if backend == "auto":
        backend = _fastest(u, A, dt_weight)
    if backend not in BACKENDS:
        raise BackendUnavailable(f"unknown scan backend {backend!r}; have: {', '.join(BACKENDS)}")
    return BACKENDS[backend](u, selection, A, D, dt_weight, dt_bias, order)
