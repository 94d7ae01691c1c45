"""Prepares convolutions for one CPU and one input size: weights reordered, activations fused.

oneDNN, torch's library for convolutions on x86 and Arm, reorders a convolution's weights at every
call unless they are in its layout, and can apply the activation while the result is in the cache.
torch's compiler uses operators for both, which can be called without the compiler. If they are
missing, or give other results, nothing is packed.
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
"""Largest relative norm of the difference between the results of packed and original module."""

_ACTIVATIONS: dict[type[nn.Module], tuple[str, tuple[float, ...]]] = {
    nn.ReLU: ("relu", ()),
    nn.ReLU6: ("hardtanh", (0.0, 6.0)),
    nn.SiLU: ("swish", ()),
    nn.Hardswish: ("hardswish", ()),
    nn.Sigmoid: ("sigmoid", ()),
}
_REFUSALS = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""Raised by operators and copies, such as of a module in distributed training."""

logger = logging.getLogger(__name__)


def prepare_for_cpu(network: MambaAD) -> MambaAD:
    """Return a faster copy of `network` for this CPU and its configured image size.

    Batch norms are folded and convolutions packed. The copy shares the rest of the decoder.
    """
    return transformed(network, folded_and_packed, packed)


def folded_and_packed(module: nn.Module, example: object) -> nn.Module:
    """Return a copy of `module` with batch norms folded and, if possible, convolutions packed."""
    return packed(folded(module, example), example)


def packed(module: nn.Module, example: object) -> nn.Module:
    """Return a copy of `module` with packed convolutions, or `module` itself if that fails.

    The copy shares all other weights.
    """
    try:
        twin = _packed(module, example)
        _check(twin, module, example)
    except _Differs as error:
        logger.warning("convolutions not packed: %s", str(error))  # text: no frames kept alive
        return module
    except _REFUSALS as error:
        logger.info("convolutions not packed: %s", str(error))
        return module
    return twin


class _Differs(Exception):
    """The results of a packed module differ too much."""


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
            example_input = wiring.inputs[name]
            packed_conv = PackedConv(conv, activation, example_input.shape)
            # each one alone: in the module's result, a residual path may hide an error
            original = nn.Sequential(conv, activation or nn.Identity())
            _check(packed_conv, original, example_input)
            twin.set_submodule(name, packed_conv)
            if after is not None:
                twin.set_submodule(after, nn.Identity())
    return twin


def _check(twin: nn.Module, original: nn.Module, example: object) -> None:
    """Raise `_Differs` if the relative norm of a difference between results is too large."""
    pairs = zip(tree_leaves(twin(example)), tree_leaves(original(example)), strict=True)
    largest = max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs)
    if not largest <= TOLERANCE:
        raise _Differs(f"the results would differ by {largest:.1e} on this processor")


def _is_plain(conv: nn.Conv2d) -> bool:
    supported = type(conv) in CONVOLUTIONS and conv.weight.dtype == torch.float32
    return supported and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _symmetric(conv: nn.Conv2d, size: torch.Size) -> tuple[Tensor, tuple[int, int]]:
    """Return the weight and padding of an equal convolution that pads both sides alike.

    TensorFlow's "same" sometimes pads the far side by one more. A row of zeros at the near side of
    the kernel does the same without copying the input.
    """
    if not isinstance(conv, Conv2dSame):
        rows, columns = (int(n) for n in conv.padding)
        return conv.weight.detach(), (rows, columns)
    rows, more_rows = _same(size[2], conv, 0)
    columns, more_columns = _same(size[3], conv, 1)
    return F.pad(conv.weight.detach(), (more_columns, 0, more_rows, 0)), (rows, columns)


def _same(length: int, conv: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Return the padding of both sides, and the number of zeros to put before the kernel."""
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
    total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    if total % 2 and dilation > 1:
        raise ValueError("a dilated kernel cannot be extended by a row of zeros")
    return (total + 1) // 2, total % 2
