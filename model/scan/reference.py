"""The scan as the paper writes it, one step at a time: the oracle for every fast backend.

    b  batch       L  positions, H * W      K  directions
    D  channels    N  states a channel      R  rank of the delta projection

Source: MambaAD equations 1 to 4 and `selective_scan_ref` of state-spaces/mamba, for K sequences
that share one input. Any floating dtype, any device, differentiable by autograd.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus


def scan(
    u: Float[Tensor, "b L D"],
    selection: Float[Tensor, "b L K S"],
    A: Float[Tensor, "K D N"],
    D: Float[Tensor, "K D"],
    dt_weight: Float[Tensor, "K D R"],
    dt_bias: Float[Tensor, "K D"],
    order: Int[Tensor, "K L"],
) -> Float[Tensor, "b L D"]:
    """Return the sum of all directions' outputs; shapes as in `model.scan.hybrid_scan`."""
    K = order.shape[0]
    N, R = A.shape[2], dt_weight.shape[2]
    directions = torch.arange(K, device=u.device)
    state = u.new_zeros(u.shape[0], K, u.shape[2], N)
    outputs = []
    for positions in order.long().T:  # (K,): the position of each direction
        u_now = u[:, positions]  # (b, K, D)
        dt, B, C = torch.split(selection[:, positions, directions], [R, N, N], dim=-1)
        delta = softplus(torch.einsum("bkr,kdr->bkd", dt, dt_weight) + dt_bias)
        decay = torch.exp(delta.unsqueeze(-1) * A)  # (b, K, D, N)
        state = decay * state + (delta * u_now).unsqueeze(-1) * B.unsqueeze(2)
        outputs.append(torch.einsum("bkdn,bkn->bkd", state, C) + D * u_now)
    y = torch.stack(outputs, dim=2)  # (b, K, L, D), in the order of the steps
    return torch.zeros_like(u).index_add(1, order.reshape(-1).long(), y.flatten(1, 2))
