"""The published data flow: every direction a permuted copy, scanned by mamba_ssm's kernel.

    b  batch        L  positions, H * W    K  directions
    D  channels     N  states a channel    R  rank of the delta projection

The released MambaAD works this way; our kernels are measured against it. mamba_ssm's
`selective_scan_fn` takes u and delta (b, K D, L), A (K D, N), B and C (b, K, N, L) and D (K D), all
float32. So u and the selection are gathered into K copies, delta is expanded, and K outputs are
gathered back and added. Needs a CUDA device and the extra `mamba-ssm`.
"""

from collections.abc import Callable
from importlib import import_module

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from model.errors import BackendUnavailable

SelectiveScan = Callable[..., Tensor]
"""selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus) -> (b, K D, L)."""


def scan(
    u: Float[Tensor, "b L D"],
    selection: Float[Tensor, "b L K S"],
    A: Float[Tensor, "K D N"],
    D: Float[Tensor, "K D"],
    dt_weight: Float[Tensor, "K D R"],
    dt_bias: Float[Tensor, "K D"],
    order: Int[Tensor, "K L"],
) -> Float[Tensor, "b L D"]:
    """Run `model.scan.hybrid_scan` with mamba_ssm. Raises `BackendUnavailable`."""
    return permuted_scan(_selective_scan_fn(), u, selection, A, D, dt_weight, dt_bias, order)


def permuted_scan(
    selective_scan: SelectiveScan,
    u: Float[Tensor, "b L D"],
    selection: Float[Tensor, "b L K S"],
    A: Float[Tensor, "K D N"],
    D: Float[Tensor, "K D"],
    dt_weight: Float[Tensor, "K D R"],
    dt_bias: Float[Tensor, "K D"],
    order: Int[Tensor, "K L"],
) -> Float[Tensor, "b L D"]:
    """Scan K permuted copies with a function that takes mamba_ssm's arguments."""
    K, N, R = order.shape[0], A.shape[2], dt_weight.shape[2]
    positions = order.long()
    directions = torch.arange(K, device=u.device).unsqueeze(1)
    rows = selection.float()[:, positions, directions]  # (b, K, L, S)
    dt, B, C = torch.split(rows, [R, N, N], dim=-1)
    copies = rearrange(u.float()[:, positions], "b K L D -> b (K D) L").contiguous()
    delta = torch.einsum("bklr,kdr->bkdl", dt, dt_weight.float())
    y = selective_scan(
        copies, delta.flatten(1, 2).contiguous(), A.float().flatten(0, 1),
        B.transpose(2, 3).contiguous(), C.transpose(2, 3).contiguous(), D.float().flatten(),
        z=None, delta_bias=dt_bias.float().flatten(), delta_softplus=True,
    )  # fmt: skip
    back = positions.argsort(dim=1)  # (K, L): the step at which each position is visited
    y = rearrange(y, "b (K D) L -> b K D L", K=K)
    y = y.gather(3, back[None, :, None].expand_as(y)).sum(dim=1)
    return y.transpose(1, 2).contiguous().to(u.dtype)


def _selective_scan_fn() -> SelectiveScan:
    try:
        interface = import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError as error:
        raise BackendUnavailable(
            "the mamba_ssm scan needs mamba_ssm, built against this torch and CUDA: "
            f"pip install --no-build-isolation 'mambaad-service[mamba-ssm]' ({error})"
        ) from error
    function: SelectiveScan = interface.selective_scan_fn
    return function
