"""Folds batch norms into the convolutions before them, for inference.

A batch norm in evaluation mode scales and shifts each channel, which a convolution can do as well.
A forward pass shows which convolution feeds which norm, so that this works for any timm encoder;
norms that cannot be folded remain. Checkpoints hold the unfolded weights, and training uses them.
"""

import copy
from collections.abc import Callable
from itertools import chain
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from model.engines.torch.wiring import Wiring
from model.network.encoder import Encoder
from model.network.mambaad import MambaAD

Transform: TypeAlias = Callable[[nn.Module, object], nn.Module]
"""From a module and an example of its only argument to an equivalent module."""

CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
"""Only these types: subclasses, such as weight-standardised ones, change the weight first."""

_BATCH_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def fold_batch_norms(network: MambaAD) -> MambaAD:
    """Return a copy of `network` for inference, with batch norms folded."""
    return transformed(network, folded)


def folded(module: nn.Module, example: object) -> nn.Module:
    """Return a copy of `module` in evaluation mode, its batch norms folded where possible."""
    twin = copy.deepcopy(module).eval().requires_grad_(False)
    types = {name: type(child) for name, child in twin.named_modules()}
    pairs = Wiring(twin, example).pairs(
        lambda name: types[name] in CONVOLUTIONS, lambda name: types[name] in _BATCH_NORMS
    )
    for conv_name, norm_name in pairs.items():
        conv, norm = twin.get_submodule(conv_name), twin.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        if norm.running_mean is not None:  # else it uses each batch's statistics
            _fold(conv, norm)
            act = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
            twin.set_submodule(norm_name, act)
    return twin


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
        norm.weight, norm.bias,
    )  # fmt: skip
    channels_last = weight.detach().contiguous(memory_format=torch.channels_last)
    conv.weight = nn.Parameter(channels_last, requires_grad=False)
    conv.bias = nn.Parameter(bias.detach(), requires_grad=False)


@torch.no_grad()
def transformed(
    network: MambaAD, transform: Transform, of_decoder: Transform | None = None
) -> MambaAD:
    """Return a copy of `network` for inference, its encoder and its fusion transformed.

    The copy shares the decoder, unless `of_decoder` transforms it. Networks that share an encoder
    and have the same image size share its transformed copy.
    """
    device = next(network.fusion.parameters()).device
    image = torch.zeros(1, 3, *network.config.image_size, device=device)
    twin = copy.copy(network)
    twin._modules = dict(network._modules)
    twin._modules["encoder"] = _once(network.encoder, transform, image)
    features = network.encoder(image)
    twin._modules["fusion"] = transform(network.fusion, features)
    if of_decoder is not None:
        twin._modules["decoder"] = of_decoder(network.decoder, network.fusion(features))
    return twin


_twins: WeakKeyDictionary[Encoder, dict[object, tuple[object, nn.Module]]] = WeakKeyDictionary()


def _once(encoder: Encoder, transform: Transform, image: Tensor) -> nn.Module:
    """Transform an encoder, or return its last result while the weights neither change nor move."""
    tensors = chain(encoder.parameters(), encoder.buffers())
    weights = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
    twins = _twins.setdefault(encoder, {})
    key = transform, image.shape
    if key not in twins or twins[key][0] != weights:
        twins[key] = weights, transform(encoder, image)
    return twins[key][1]
