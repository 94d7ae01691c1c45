"""The published data flow in eager PyTorch, for machines without mamba_ssm.

`scan` takes the arguments of a backend of `model.scan`. Everything around the recurrence (K
permuted float32 copies, the expanded delta, gathering back) is that of `model.scan.mamba_ssm`. Only
mamba_ssm's kernel is replaced, by a parallel scan over the steps of each chunk, with tensors that
mamba_ssm does not need. Results must say so.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from model.scan.mamba_ssm import permuted_scan

CHUNK = 64


def scan(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Compute `model.scan.hybrid_scan`."""
    return permuted_scan(chunked_selective_scan, u, selection, A, D, dt_weight, dt_bias, order)


def chunked_selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: None,
    delta_bias: Tensor, delta_softplus: bool,
) -> Tensor:  # fmt: skip
    """Compute mamba_ssm's `selective_scan_fn`, (b, K D, L), in eager torch."""
    groups = B.shape[1]
    delta = delta + delta_bias[:, None]
    delta = softplus(delta) if delta_softplus else delta
    state = u.new_zeros(*u.shape[:2], A.shape[1])
    outputs = []
    for start in range(0, u.shape[2], CHUNK):
        steps = slice(start, start + CHUNK)
        delta_now = delta[..., steps]
        decay = torch.exp(torch.einsum("bdl,dn->bdln", delta_now, A))
        inputs = _by_channel(B[..., steps], u, groups) * (delta_now * u[..., steps]).unsqueeze(-1)
        decay, states = _prefixes(decay, inputs)
        states = states + decay * state.unsqueeze(2)
        state = states[:, :, -1]
        outputs.append((states * _by_channel(C[..., steps], u, groups)).sum(dim=-1))
    return torch.cat(outputs, dim=-1) + D[:, None] * u


def _by_channel(rows: Tensor, u: Tensor, groups: int) -> Tensor:
    """(b, K, N, l) -> (b, K D, l, N): each group's rows for each of its channels."""
    return rows.transpose(2, 3).repeat_interleave(u.shape[1] // groups, dim=1)


def _prefixes(decay: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each step, the product of the decays up to it and the state from zero.

    Hillis and Steele's scan: each round joins every step with the one `reach` steps before.
    """
    reach = 1
    while reach < decay.shape[2]:
        joined = states[:, :, reach:] + decay[:, :, reach:] * states[:, :, :-reach]
        states = torch.cat([states[:, :, :reach], joined], dim=2)
        product = decay[:, :, reach:] * decay[:, :, :-reach]
        decay = torch.cat([decay[:, :, :reach], product], dim=2)
        reach *= 2
    return decay, states
