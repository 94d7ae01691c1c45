"""A memory of good parts as ONNX nodes: `model.scoring.memory` and `model.scoring.fused_baseline`.

B  batch     C  channels     P  places, h * w     k  patches     h, w  the grid of stride 8
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from model.checkpoints.checkpoint import Checkpoint
from model.export.graph import Graph, Value
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.memory import Memory

PATCHES = "patches"


def memories(checkpoint: Checkpoint) -> list[FusedBaseline]:
    """Return the fused baselines by category index; empty for a scoring without a memory."""
    if not checkpoint.scoring.memory:
        return []
    categories = checkpoint.manifest.categories
    return [cast(FusedBaseline, checkpoint.baselines[category]) for category in categories]


def patches(graph: Graph, teacher: Sequence[Value]) -> Value:
    """Write `model.scoring.patches.patch_features` as the output of that name: (B, C * P)."""
    middle, coarse = (
        graph.op("AveragePool", t, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
        for t in teacher[1:]
    )
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    mode = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    wide = graph.op("Resize", coarse, "", scales, **mode)
    joined = graph.op("Concat", middle, wide, axis=1)
    return graph.op("Reshape", joined, np.array([0, -1]), name=PATCHES)


def fused(
    graph: Graph, maps: Value, flat: Value, category: Value, baselines: Sequence[FusedBaseline]
) -> Value:
    """Write `FusedBaseline.standardise` from the decoder's maps and flat patches: (B, H, W)."""
    first = baselines[0].memory
    laid = graph.reshape(flat, 0, first.channels, first.grid[0] * first.grid[1])
    distances = None
    for number, baseline in enumerate(baselines):
        nearest = _distances(graph, laid, baseline.memory)
        selected = graph.op("Equal", category, np.array([number]))
        selected = graph.op("Unsqueeze", selected, np.array([1]))
        distances = (
            nearest if distances is None else graph.op("Where", selected, nearest, distances)
        )
    assert distances is not None  # every exportable checkpoint has a category
    grid = graph.reshape(distances, -1, *first.grid)
    remembered = graph.op(
        "MatMul", graph.op("MatMul", first.stretch.rows, grid), first.stretch.columns
    )
    table = np.array([baseline.factors for baseline in baselines], np.float32)
    a, b, c = (graph.op("Gather", column.reshape(-1, 1, 1), category, axis=0) for column in table.T)
    both = graph.op("Add", graph.op("Mul", maps, a), graph.op("Mul", remembered, b))
    return graph.op("Sub", both, c)


def _distances(graph: Graph, laid: Value, memory: Memory) -> Value:
    """Write `Memory.distances` of patches (B, C, P): (B, P)."""
    along = np.array([1])
    # The memory's matrices are first factors, because `precision` stores second ones in fewer bits.
    centred = graph.op("MatMul", memory.transform, graph.op("Sub", laid, memory.origin[:, None]))
    products = graph.op("MatMul", np.ascontiguousarray(memory.against[:, :-1]), centred)
    products = graph.op("Add", products, np.ascontiguousarray(memory.against[:, -1:]))
    nearest = graph.op("ReduceMax", products, along, keepdims=0)
    squares = graph.op("ReduceSum", graph.op("Mul", centred, centred), along, keepdims=0)
    apart = graph.op("Sub", squares, graph.op("Mul", nearest, np.array(2, np.float32)))
    zero = graph.op("Mul", squares, np.array(0, np.float32))  # NaN if a feature is not finite
    positive = graph.op("Max", apart, np.array(0, np.float32))
    return graph.op("Sqrt", graph.op("Add", positive, zero))
