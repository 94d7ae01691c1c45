"""The hybrid scan in standard ONNX operators.

    B  batch                 L  positions, H * W    K  directions
    D  channels              N  states a channel    R  rank of the delta projection

Everything that does not depend on the state is computed for all steps at once, in (L, K, B, ...)
layout and the directions' own orders: one gather there, one back. What is left for the loop are
six operators on the (K, B, N, D) state of all directions. The channels come last, so that every
operator runs along contiguous memory and the sum over the states is a product of matrices.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from model.export.graph import Graph, Value


@dataclass(frozen=True, slots=True)
class ScanWeights:
    """The constants of one scan, as `model.scan.hybrid_scan` takes them."""

    A: Float32[np.ndarray, "K D N"]
    D: Float32[np.ndarray, "K D"]
    dt_weight: Float32[np.ndarray, "K D R"]
    dt_bias: Float32[np.ndarray, "K D"]
    order: Int[np.ndarray, "K L"]


def scan(graph: Graph, u: Value, selection: Value, weights: ScanWeights, prefix: str) -> Value:
    """Write the scan of `u` (B, L, D), with `selection` (B, L, K S), both row-major.

    Returns the sum over the directions, (B, L, D) and row-major again.
    """
    steps = graph.transpose(u, 1, 0, 2)  # (L, B, D)
    delta, B, C = _selected(graph, selection, weights)
    u_now = graph.op("Gather", steps, _visited(weights), axis=0)  # (L, K, B, D)
    delta_u = graph.op("Mul", delta, u_now)
    y = _recurrence(graph, weights, (delta, delta_u, B, C), prefix)
    summed = _row_major(graph, y, weights)
    through = graph.op("Mul", steps, weights.D.sum(axis=0))
    return graph.transpose(graph.op("Add", summed, through), 1, 0, 2)


def _visited(weights: ScanWeights) -> Int[np.ndarray, "L K"]:
    return np.ascontiguousarray(weights.order.T.astype(np.int64))


def _selected(graph: Graph, selection: Value, weights: ScanWeights) -> tuple[Value, Value, Value]:
    """Return delta (L, K, B, D), B (L, K, B, N, 1) and C (L, K, B, 1, N) in scan order."""
    K, D, R = weights.dt_weight.shape
    N, L = weights.A.shape[2], weights.order.shape[1]
    parts = graph.reshape(selection, 0, L, K, R + 2 * N)
    by_direction = graph.transpose(parts, 2, 1, 0, 3)  # (K, L, B, S)
    dt, B, C = graph.split(by_direction, (R, N, N), axis=3)
    full = graph.op("MatMul", graph.reshape(dt, K, -1, R), weights.dt_weight.transpose(0, 2, 1))
    delta = graph.op("Softplus", graph.op("Add", full, weights.dt_bias[:, None]))
    index = _visited(weights) + np.arange(K) * L  # rows of tables (K L, B, ...)
    delta, B, C = (
        graph.op("Gather", graph.reshape(x, K * L, -1, size), index, axis=0)
        for x, size in ((delta, D), (B, N), (C, N))
    )
    return delta, graph.reshape(B, L, K, -1, N, 1), graph.reshape(C, L, K, -1, 1, N)


def _recurrence(
    graph: Graph, weights: ScanWeights, inputs: tuple[Value, Value, Value, Value], prefix: str
) -> Value:
    """Return y (L, K, B, 1, D), the states of each step summed by C."""
    K, D, N = weights.A.shape
    delta, delta_u, B, C = inputs
    L = weights.order.shape[1]
    rows = [graph.reshape(x, L, K, -1, 1, D) for x in (delta, delta_u)]
    body = Graph(graph, f"{prefix}step_")
    step = [f"{prefix}{name}" for name in ("delta", "delta_u", "B", "C")]
    decay = body.op("Exp", body.op("Mul", step[0], weights.A.transpose(0, 2, 1)[:, None]))
    kept = body.op("Mul", decay, f"{prefix}before")
    after = body.op("Add", kept, body.op("Mul", step[1], step[2]))
    y = body.op("MatMul", step[3], after)
    proto = body.body([f"{prefix}before", *step], [after, y])
    return graph.scan(proto, _initial_state(graph, delta, (K, N, D)), [*rows, B, C])[0]


def _initial_state(graph: Graph, delta: Value, sizes: tuple[int, int, int]) -> Value:
    """Return zeros (K, B, N, D)."""
    K, N, D = sizes
    batch = graph.op("Shape", delta, start=2, end=3)
    shape = graph.op("Concat", np.array([K]), batch, np.array([N, D]), axis=0)
    return graph.op("Expand", np.zeros((1, 1, 1, 1), np.float32), shape)


def _row_major(graph: Graph, y: Value, weights: ScanWeights) -> Value:
    """Bring y (L, K, B, 1, D) back from the directions' orders and sum over them: (L, B, D)."""
    K, L = weights.order.shape
    steps = np.argsort(weights.order, axis=1)  # (K, L): when a direction comes by each position
    table = graph.reshape(y, L * K, -1, weights.D.shape[1])
    gathered = graph.op("Gather", table, steps * K + np.arange(K)[:, None], axis=0)
    return graph.op("ReduceSum", gathered, np.array([0]), keepdims=0)
