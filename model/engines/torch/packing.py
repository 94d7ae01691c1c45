"""Convolutions made ready for one CPU and one input size: weights laid out, activations fused.

oneDNN, which torch computes convolutions with on x86 and Arm, re-orders a convolution's weights on
every call unless they come in its own layout, and can apply the activation while the result is
still in the cache. torch reaches both through the operators its compiler emits; no compiler is
needed to call them. Where they are missing, or answer differently, nothing is packed.
"""

import copy
import logging
from itertools import chain
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from model.engines.torch.folding import CONVOLUTIONS, folded, transformed
from model.engines.torch.wiring import Wiring
from model.network.mambaad import MambaAD

TOLERANCE = 1e-3
"""Relative norm by which what a packed module computes may differ from what it did before."""

_ACTIVATIONS: dict[type[nn.Module], tuple[str, tuple[float, ...]]] = {
    nn.ReLU: ("relu", ()),
    nn.ReLU6: ("hardtanh", (0.0, 6.0)),
    nn.SiLU: ("swish", ()),
    nn.Hardswish: ("hardswish", ()),
    nn.Sigmoid: ("sigmoid", ()),
}
_REFUSALS = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What operators and copies raise: such as of a module that a process group trains."""

logger = logging.getLogger(__name__)


def prepare_for_cpu(network: MambaAD) -> MambaAD:
    """Return a network that computes the same on this CPU, faster; `network` stays as it is.

    Batch norms are folded, and convolutions packed. It takes images of the configured size only.
    What is not packed of the decoder, it shares with `network`.
    """
    return transformed(network, folded_and_packed, packed)


def folded_and_packed(module: nn.Module, example: object) -> nn.Module:
    """Return a copy of `module` with batch norms folded and, if possible, convolutions packed."""
    return packed(folded(module, example), example)


def packed(module: nn.Module, example: object) -> nn.Module:
    """Return `module` with convolutions packed, and all else shared; or itself where they can't."""
    try:
        twin = _packed(module, example)
        _check(twin, module, example)
    except _Differs as error:
        logger.warning("convolutions stay unpacked: %s", str(error))  # which holds no frames
        return module
    except _REFUSALS as error:
        logger.info("convolutions stay unpacked: %s", str(error))
        return module
    return twin


class _Differs(Exception):
    """A packed module computes something else."""


class PackedConv(nn.Module):
    """A convolution and the activation after it, for inputs of one height and width."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None, size: torch.Size) -> None:
        super().__init__()
        weight, padding = _symmetric(conv, size)
        self._geometry = (list(padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._bias = None if conv.bias is None else conv.bias.detach()
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self._weight = reorder(weight.contiguous().to_mkldnn(), *self._geometry, list(size))
        name, scalars = _ACTIVATIONS[type(activation)] if activation else ("none", ())
        self._activation = (name, list(scalars), "")

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated result, channels last like `x`."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, *self._activation
        )
        return result


def _packed(module: nn.Module, example: object) -> nn.Module:
    shared = chain(module.parameters(), module.buffers())
    twin = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    children = dict(twin.named_modules())
    wiring = Wiring(twin, example)
    activations = wiring.pairs(
        lambda name: type(children[name]) in CONVOLUTIONS,
        lambda name: type(children[name]) in _ACTIVATIONS,
    )
    for name, conv in children.items():
        if isinstance(conv, nn.Conv2d) and name in wiring.inputs and _is_plain(conv):
            after = activations.get(name)
            activation = None if after is None else children[after]
            seen = wiring.inputs[name]
            packed_conv = PackedConv(conv, activation, seen.shape)
            # a residual path around it may hide from the whole module what a convolution gets wrong
            _check(packed_conv, nn.Sequential(conv, activation or nn.Identity()), seen)
            twin.set_submodule(name, packed_conv)
            if after is not None:
                twin.set_submodule(after, nn.Identity())
    return twin


def _check(one: nn.Module, other: nn.Module, example: object) -> None:
    """Raise `_Differs` where the relative norm of a difference between results is too large."""
    pairs = zip(tree_leaves(one(example)), tree_leaves(other(example)), strict=True)
    largest = max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs)
    if not largest <= TOLERANCE:
        raise _Differs(f"they would differ by {largest:.1e} here")


def _is_plain(conv: nn.Conv2d) -> bool:
    of_a_known_kind = type(conv) in CONVOLUTIONS and conv.weight.dtype == torch.float32
    return of_a_known_kind and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _symmetric(conv: nn.Conv2d, size: torch.Size) -> tuple[Tensor, tuple[int, int]]:
    """Return the weight and padding of an equal convolution that pads both sides alike.

    TensorFlow's "same" pads the far side by one more at times: a row of zeros at the near side of
    the kernel brings that about without a copy of the input.
    """
    if not isinstance(conv, Conv2dSame):
        rows, columns = (int(n) for n in conv.padding)
        return conv.weight.detach(), (rows, columns)
    rows, more_rows = _same(size[2], conv, 0)
    columns, more_columns = _same(size[3], conv, 1)
    return F.pad(conv.weight.detach(), (more_columns, 0, more_rows, 0)), (rows, columns)


def _same(length: int, conv: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Return the padding of both sides, and how many zeros to put before the kernel."""
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
    total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    if total % 2 and dilation > 1:
        raise ValueError("a dilated kernel cannot take a row of zeros")
    return (total + 1) // 2, total % 2
