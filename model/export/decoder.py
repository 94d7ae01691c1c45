"""Fusion and Mamba decoder as ONNX nodes: `model.network.fusion`, `blocks` and `decoder`.

    B  batch            H, W  height and width of the map     L  positions, H * W
    C  map channels     D  inner channels, 2 C                K  directions

Maps are (B, C, H, W) for convolutions, and (B, L, C) inside a block for the scan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.export.graph import Graph, Value
from model.export.scan import ScanWeights, scan
from model.network import MambaAD
from model.network.blocks import HSS, ConvBranch


def array(weight: Tensor) -> Float32[np.ndarray, "..."]:
    """Return a weight as a constant of the graph."""
    values: np.ndarray = weight.detach().cpu().float().numpy()
    return values


def reconstruct(
    graph: Graph, network: MambaAD, teacher: Sequence[Value], unused_scales: int
) -> list[Value]:
    """Write `MambaAD.reconstruct`; return the decoder's used maps, fine to coarse."""
    decoder: Any = network.decoder
    sizes = network.config.stage_sizes
    x = _stage(graph, decoder.stages[0], fuse(graph, network, teacher), sizes[0], "stage0_")
    maps: list[Value] = []
    for i in range(len(decoder.expands) - unused_scales):
        x = _expand(graph, decoder.expands[i], x, sizes[i])
        x = _stage(graph, decoder.stages[i + 1], x, sizes[i + 1], f"stage{i + 1}_")
        maps.insert(0, x)
    return maps


def fuse(graph: Graph, network: MambaAD, teacher: Sequence[Value]) -> Value:
    """Write `Fusion`, its batch norms folded into the convolutions."""
    fusion: Any = network.fusion
    fine, middle, coarse = teacher
    finer = _conv_norm_relu(graph, fusion.fine_down, fine)
    middle = graph.op("Add", _conv_norm_relu(graph, fusion.middle, middle), finer)
    middle_down = _conv_norm_relu(graph, fusion.middle_down, middle)
    coarse = graph.op("Add", middle_down, _conv_norm_relu(graph, fusion.coarse, coarse))
    x = _conv_norm_relu(graph, fusion.merge, coarse)
    for block in fusion.bottlenecks:
        x = _bottleneck(graph, block, x)
    return x


def conv(graph: Graph, module: nn.Conv2d, x: Value) -> Value:
    """Write one convolution; its padding is the same on both sides."""
    bias = [] if module.bias is None else [array(module.bias)]
    top, left = (int(n) for n in module.padding)
    return graph.op(
        "Conv", x, array(module.weight), *bias, kernel_shape=list(module.kernel_size),
        strides=list(module.stride), pads=[top, left, top, left], group=module.groups,
    )  # fmt: skip


def _conv_norm(graph: Graph, module: Any, norm: Any, x: Value) -> Value:
    return conv(graph, fuse_conv_bn_eval(module.eval(), norm.eval()), x)


def _conv_norm_relu(graph: Graph, modules: Any, x: Value) -> Value:
    return graph.op("Relu", _conv_norm(graph, modules[0], modules[1], x))


def _bottleneck(graph: Graph, block: Any, x: Value) -> Value:
    """Write timm's ResNet bottleneck with the options of `Fusion`: no attention."""
    y = graph.op("Relu", _conv_norm(graph, block.conv1, block.bn1, x))
    y = graph.op("Relu", _conv_norm(graph, block.conv2, block.bn2, y))
    y = _conv_norm(graph, block.conv3, block.bn3, y)
    shortcut = x
    if block.downsample is not None:
        shortcut = _conv_norm(graph, block.downsample[0], block.downsample[1], x)
    return graph.op("Relu", graph.op("Add", y, shortcut))


def _stage(graph: Graph, stage: Any, x: Value, size: tuple[int, int], prefix: str) -> Value:
    for i, module in enumerate(stage):
        x = _lss(graph, module, x, size, f"{prefix}module{i}_")
    return x


def _lss(graph: Graph, lss: Any, x: Value, size: tuple[int, int], prefix: str) -> Value:
    """(B, C, H, W) -> (B, C, H, W)."""
    channels = lss.merge.out_channels
    y = graph.transpose(graph.reshape(x, 0, channels, -1), 0, 2, 1)  # (B, L, C)
    for i, block in enumerate(lss.hss):
        y = _hss(graph, block, y, size, f"{prefix}block{i}_")
    far = graph.reshape(graph.transpose(y, 0, 2, 1), 0, channels, *size)
    near = [_branch(graph, branch, x) for branch in (lss.branch5, lss.branch7)]
    merged = conv(graph, lss.merge, graph.op("Concat", far, *near, axis=1))
    return graph.op("Add", x, merged)


def _branch(graph: Graph, branch: ConvBranch, x: Value) -> Value:
    for module in (branch.before, branch.depthwise, branch.after):
        channels = module.out_channels
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        normed = graph.op(
            "InstanceNormalization", conv(graph, module, x), ones, zeros, epsilon=1e-5
        )
        x = graph.silu(normed)
    return x


def _hss(graph: Graph, hss: Any, x: Value, size: tuple[int, int], prefix: str) -> Value:
    """(B, L, C) -> (B, L, C)."""
    inner = hss.conv.out_channels
    projected = _linear(graph, hss.in_proj, _layer_norm(graph, hss.norm, x))
    u, gate = graph.split(projected, (inner, inner), axis=2)
    u = graph.reshape(graph.transpose(u, 0, 2, 1), 0, inner, *size)
    u = graph.silu(conv(graph, hss.conv, u))
    u = graph.transpose(graph.reshape(u, 0, inner, -1), 0, 2, 1)
    y = _layer_norm(graph, hss.out_norm, _scan(graph, hss, u, prefix))
    gated = graph.op("Mul", y, graph.silu(gate))
    return graph.op("Add", x, _linear(graph, hss.out_proj, gated))


def _scan(graph: Graph, hss: HSS, u: Value, prefix: str) -> Value:
    selection = graph.op("MatMul", u, array(hss.selection_weight.flatten(0, 1).T))
    weights = ScanWeights(
        -np.exp(array(hss.A_log)), array(hss.D), array(hss.dt_weight), array(hss.dt_bias),
        hss.order.cpu().numpy(),
    )  # fmt: skip
    return scan(graph, u, selection, weights, prefix)


def _expand(graph: Graph, module: Any, x: Value, size: tuple[int, int]) -> Value:
    """(B, C, H, W) -> (B, c, 2 H, 2 W)."""
    height, width = size
    inputs, outputs = module.expand.in_features, module.norm.normalized_shape[0]
    rows = graph.transpose(graph.reshape(x, 0, inputs, -1), 0, 2, 1)
    patches = graph.reshape(_linear(graph, module.expand, rows), -1, height, width, 2, 2, outputs)
    normed = _layer_norm(graph, module.norm, patches)
    moved = graph.transpose(normed, 0, 5, 1, 3, 2, 4)  # (B, c, H, i, W, j)
    return graph.reshape(moved, -1, outputs, 2 * height, 2 * width)


def _linear(graph: Graph, module: nn.Linear, x: Value) -> Value:
    return graph.op("MatMul", x, array(module.weight.T))


def _layer_norm(graph: Graph, module: nn.LayerNorm, x: Value) -> Value:
    weight, bias = array(module.weight), array(module.bias)
    return graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=module.eps)
