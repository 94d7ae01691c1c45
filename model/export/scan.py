"""The hybrid scan in standard ONNX operators.

    B  batch                 L  positions, H * W    K  directions
    D  channels              N  states a channel    R  rank of the delta projection

Everything that does not depend on the state is computed for all steps at once, in (L, K, B, ...)
layout and in the order of each direction: one gather there, one back. The loop runs six operators
on the (K, B, N, D) state of all directions. The channels come last, so that every operator runs
along contiguous memory and the sum over the states is a matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
from jaxtyping import Float32, Int

from model.export.graph import Graph, Value

Recurrence: TypeAlias = Callable[
    [Graph, "ScanWeights", tuple[Value, Value, Value, Value], str], Value
]
"""From delta, delta u (L, K, B, D), B and C (L, K, B, N) to y (L, K, B, 1, D)."""

CHUNK_ELEMENTS = 262_144
"""Most elements in one tensor of a chunk: 1 MB, enough work for two threads."""

_SATURATED = 80.0


@dataclass(frozen=True, slots=True)
class ScanWeights:
    """The constants of one scan: arguments of `model.scan.hybrid_scan`."""

    A: Float32[np.ndarray, "K D N"]
    D: Float32[np.ndarray, "K D"]
    dt_weight: Float32[np.ndarray, "K D R"]
    dt_bias: Float32[np.ndarray, "K D"]
    order: Int[np.ndarray, "K L"]


def scan(
    graph: Graph, u: Value, selection: Value, weights: ScanWeights, prefix: str,
    recurrence: "Recurrence | None" = None,
) -> Value:  # fmt: skip
    """Write the scan of `u` (B, L, D), with `selection` (B, L, K S), both row-major.

    Returns the sum over the directions, (B, L, D), row-major. `recurrence` is `chunked` by default;
    benchmarks pass others.
    """
    steps = graph.transpose(u, 1, 0, 2)  # (L, B, D)
    delta, B, C = _selected(graph, selection, weights)
    u_now = graph.op("Gather", steps, _visited(weights), axis=0)  # (L, K, B, D)
    delta_u = graph.op("Mul", delta, u_now)
    y = (recurrence or chunked)(graph, weights, (delta, delta_u, B, C), prefix)
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
    delta = _softplus(graph, graph.op("Add", full, weights.dt_bias[:, None]))
    index = _visited(weights) + np.arange(K) * L  # rows of tables (K L, B, ...)
    delta, B, C = (
        graph.op("Gather", graph.reshape(x, K * L, -1, size), index, axis=0)
        for x, size in ((delta, D), (B, N), (C, N))
    )
    return delta, B, C


def chunked(
    graph: Graph, weights: ScanWeights, inputs: tuple[Value, Value, Value, Value], prefix: str
) -> Value:
    """Return y (L, K, B, 1, D), the states of each step summed by C."""
    K, D, N = weights.A.shape
    L, T = weights.order.shape[1], chunk_steps(weights)
    state = initial_state(graph, inputs[0], (K, N, D))
    shapes = ((1, D), (1, D), (N, 1), (1, N))
    chunks = [
        graph.reshape(x, L // T, T, K, -1, *shape) for x, shape in zip(inputs, shapes, strict=True)
    ]
    y = graph.scan(_chunk(graph, weights, prefix), state, chunks)[1]
    return graph.reshape(y, L, K, -1, 1, D)


def _chunk(graph: Graph, weights: ScanWeights, prefix: str) -> onnx.GraphProto:
    """Write T steps: first all operators independent of the state, then step by step."""
    body = Graph(graph, f"{prefix}chunk_")
    names = [f"{prefix}{name}" for name in ("state", "delta", "delta_u", "B", "C")]
    state, delta, delta_u, B, C = names
    decay = body.op("Exp", body.op("Mul", delta, weights.A.transpose(0, 2, 1)[:, None]))
    source = body.op("Mul", delta_u, B)  # (T, K, B, N, D)
    step = Graph(body, f"{prefix}step_")
    parts = [f"{prefix}now_{name}" for name in ("state", "decay", "source", "C")]
    after = step.op("Add", step.op("Mul", parts[1], parts[0]), parts[2])
    y = step.op("MatMul", parts[3], after)
    last, ys = body.scan(step.body(parts, [after, y]), state, [decay, source, C])
    return body.body(names, [last, ys])


def chunk_steps(weights: ScanWeights) -> int:
    """Return T, a divisor of L: enough steps for two threads, few enough for the cache."""
    K, D, N = weights.A.shape
    L, T = weights.order.shape[1], 1
    while L % (2 * T) == 0 and 2 * T * K * D * N <= CHUNK_ELEMENTS:
        T *= 2
    return T


def initial_state(graph: Graph, delta: Value, sizes: tuple[int, int, int]) -> Value:
    """Return zeros (K, B, N, D)."""
    K, N, D = sizes
    batch = graph.op("Shape", delta, start=2, end=3)
    shape = graph.op("Concat", np.array([K]), batch, np.array([N, D]), axis=0)
    return graph.op("Expand", np.zeros((1, 1, 1, 1), np.float32), shape)


def _row_major(graph: Graph, y: Value, weights: ScanWeights) -> Value:
    """Bring y (L, K, B, 1, D) to row-major order and sum over the directions: (L, B, D)."""
    K, L = weights.order.shape
    steps = np.argsort(
        weights.order, axis=1
    )  # (K, L): the step at which a direction visits each position
    table = graph.reshape(y, L * K, -1, weights.D.shape[1])
    gathered = graph.op("Gather", table, steps * K + np.arange(K)[:, None], axis=0)
    return graph.op("ReduceSum", gathered, np.array([0]), keepdims=0)


def _softplus(graph: Graph, x: Value) -> Value:
    """Write log(1 + e^x), four times as fast as onnxruntime's operator."""
    unit, highest = np.array(1, np.float32), np.array(_SATURATED, np.float32)
    e = graph.op("Exp", graph.op("Min", x, highest))
    return graph.op("Max", graph.op("Log", graph.op("Add", e, unit)), x)
