"""The CPU backend: Numba kernels that walk the un-permuted arrays, on torch's number of threads.

    b  batch        L  positions, H * W    K  directions
    D  channels     N  states a channel    R  rank of the delta projection
    W  channels a kernel advances at once (a block)
    G  groups of directions, each with its own output, so that no two threads write to one

Forward, a thread takes (group, image, block) units: the block's state, decay rates and projection
weights stay in the first-level cache while it walks all positions of a direction. Backward, it
takes (group, image) units and loops over the blocks, since those share the gradients of B and C.
Nothing is stored between the two passes: the backward pass recomputes the states chunk by chunk.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from model.scan.numba import lean, steps, vector
from model.scan.numba.notice import watch_compiler
from model.scan.numba.steps import backward_step, fetch, forward_step, prepare_step, recompute_step
from model.scan.numba.threads import share
from model.scan.numba.units import BlockShape, block_shape, divide, width
from model.scan.numba.vector import LOG2_E

_ALIGN = 64
_CHUNK_BYTES = 128 * 1024  # cache for the recomputed states of one chunk
_FLOAT = 4
_POSITIONS_AHEAD = 4  # rows of this many positions are on their way from memory
_STEPS_DIGEST = hashlib.sha256(
    b"".join(Path(str(module.__file__)).read_bytes() for module in (steps, vector))
).hexdigest()[:12]


watch_compiler()
lean.import_registries()


def _kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Compile without the GIL, and cache the machine code on disk if possible.

    Numba's cache checks only the file of the kernel. Its name therefore contains a digest of the
    files that generate its body.
    """
    function.__qualname__ += f"-{_STEPS_DIGEST}"
    try:
        compiled: Callable[..., None] = njit(function, cache=True, nogil=True)
    except RuntimeError as error:
        warnings.warn(f"the scan kernels are compiled at every start: {error}", stacklevel=2)
        compiled = njit(function, nogil=True)
    return compiled


@njit(inline="always")
def _aligned(rows: int, width: int) -> Any:
    """Return an (rows, width) float32 array that starts on a cache line, filled with zeros."""
    raw = np.zeros(rows * width + _ALIGN // _FLOAT, dtype=np.float32)
    shift = (-np.int64(raw.ctypes.data)) % _ALIGN // _FLOAT
    return raw[shift : shift + rows * width].reshape(rows, width)


@_kernel
def _forward_units(
    block: BlockShape, u: Any, selection: Any, A: Any, D: Any, dt_weight: Any, dt_bias: Any,
    order: Any, y: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Fill y (G, b, L, D) for units `start` to `stop` of the G * b * D / W."""
    images, L, channels = u.shape
    K, _, N = A.shape
    R = dt_weight.shape[2]
    W = len(block[0]) * len(block[1])
    blocks = channels // W
    per_group = K // y.shape[0]
    state, a2, weight = _aligned(N, W), _aligned(N, W), _aligned(R, W)
    delta = _aligned(2, W)
    for unit in range(start, stop):
        group, remainder = divmod(unit, images * blocks)
        image, index = divmod(remainder, blocks)
        c = index * W
        for k in range(group * per_group, (group + 1) * per_group):
            first = k == group * per_group
            state[:] = 0
            a2[:] = A[k, c : c + W].T * np.float32(LOG2_E)
            weight[:] = dt_weight[k, c : c + W].T
            bias, d, path = dt_bias[k, c:].ctypes.data, D[k, c:].ctypes.data, order[k]
            u_at, y_at = u[image, :, c:], y[group, image, :, c:]
            selection_at = selection[image, :, k]
            for t in range(L):
                later, p = path[min(t + _POSITIONS_AHEAD, L - 1)], path[t]
                fetch(
                    block, u_at[later].ctypes.data, selection_at[later].ctypes.data,
                    y_at[later].ctypes.data, R + 2 * N,
                )  # fmt: skip
                prepare_step(
                    block, weight.ctypes.data, bias, d, u_at[p].ctypes.data,
                    selection_at[p].ctypes.data, delta[0].ctypes.data, delta[1].ctypes.data,
                    y_at[p].ctypes.data, R, first,
                )  # fmt: skip
                forward_step(
                    block, state.ctypes.data, a2.ctypes.data, delta[0].ctypes.data,
                    delta[1].ctypes.data, selection_at[p, R:].ctypes.data,
                    selection_at[p, R + N :].ctypes.data, y_at[p].ctypes.data, N,
                )  # fmt: skip


@_kernel
def _recompute(
    block: BlockShape, u: Any, selection: Any, parameters: Any, dt_bias: Any, order: Any,
    states: Any, decays: Any, deltas: Any, N: int, R: int, row_step: int,
) -> None:  # fmt: skip
    """Walk `order` from the first row of `states`.

    `row_step` is 1 to store each state in the next row, 0 to overwrite the first row.
    """
    weight = parameters[N:]
    for i in range(len(order)):
        p, row = order[i], i * row_step
        recompute_step(
            block, states[row * N].ctypes.data, states[(row + row_step) * N].ctypes.data,
            decays[row * N].ctypes.data, deltas[row].ctypes.data, parameters.ctypes.data,
            weight.ctypes.data, dt_bias.ctypes.data, u[p].ctypes.data,
            selection[p].ctypes.data, R, N,
        )  # fmt: skip


@_kernel
def _backward_block(
    block: BlockShape, u: Any, selection: Any, parameters: Any, D: Any, dt_bias: Any, order: Any,
    grad_y: Any, grad_u: Any, grad_selection: Any, N: int, R: int, first_direction: bool,
    first_block: bool,
) -> None:  # fmt: skip
    """One direction of one block: forward to the start of each chunk, then back by chunks."""
    L, W = len(order), len(block[0]) * len(block[1])
    chunk = min(L, max(8, _CHUNK_BYTES // (2 * N * W * _FLOAT)))
    chunks = (L + chunk - 1) // chunk
    heads, grad_state = _aligned(chunks * N, W), _aligned(N, W)
    states, decays, deltas = (
        _aligned((chunk + 1) * N, W),
        _aligned(chunk * N, W),
        _aligned(chunk, W),
    )
    for index in range(chunks - 1):
        _recompute(
            block, u, selection, parameters, dt_bias, order[index * chunk : (index + 1) * chunk],
            states, decays, deltas, N, R, 0,
        )  # fmt: skip
        heads[(index + 1) * N : (index + 2) * N] = states[:N]
    weight, sums = parameters[N:], parameters[N + R :]
    for index in range(chunks - 1, -1, -1):
        steps = order[index * chunk : (index + 1) * chunk]
        states[:N] = heads[index * N : (index + 1) * N]
        _recompute(block, u, selection, parameters, dt_bias, steps, states, decays, deltas, N, R, 1)
        for i in range(len(steps) - 1, -1, -1):
            p = steps[i]
            backward_step(
                block, states[i * N].ctypes.data, states[(i + 1) * N].ctypes.data,
                decays[i * N].ctypes.data, deltas[i].ctypes.data, parameters.ctypes.data,
                weight.ctypes.data, D.ctypes.data, u[p].ctypes.data, selection[p].ctypes.data,
                grad_y[p].ctypes.data, grad_state.ctypes.data, sums.ctypes.data,
                sums[N].ctypes.data, sums[N + R].ctypes.data, sums[N + R + 1].ctypes.data,
                grad_u[p].ctypes.data, grad_selection[p].ctypes.data,
                R, N, first_direction, first_block,
            )  # fmt: skip


@_kernel
def _backward_units(
    block: BlockShape, u: Any, selection: Any, A: Any, D: Any, dt_weight: Any, dt_bias: Any,
    order: Any, grad_y: Any, grad_u: Any, grad_selection: Any, grad_a: Any, grad_d: Any,
    grad_weight: Any, grad_bias: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Add units `start` to `stop` of the G * b to one thread's parameter gradients."""
    images, channels = u.shape[0], u.shape[2]
    K, _, N = A.shape
    R = dt_weight.shape[2]
    W = len(block[0]) * len(block[1])
    per_group = K // grad_u.shape[0]
    parameters = _aligned(2 * N + 2 * R + 2, W)
    for unit in range(start, stop):
        group, image = divmod(unit, images)
        for k in range(group * per_group, (group + 1) * per_group):
            for c in range(0, channels, W):
                parameters[:] = 0
                parameters[:N] = A[k, c : c + W].T * np.float32(LOG2_E)
                parameters[N : N + R] = dt_weight[k, c : c + W].T
                _backward_block(
                    block, u[image, :, c:], selection[image, :, k], parameters, D[k, c:],
                    dt_bias[k, c:], order[k], grad_y[image, :, c:], grad_u[group, image, :, c:],
                    grad_selection[image, :, k], N, R, k == group * per_group, c == 0,
                )  # fmt: skip
                sums = parameters[N + R :]
                grad_a[k, c : c + W] += sums[:N].T
                grad_weight[k, c : c + W] += sums[N : N + R].T
                grad_bias[k, c : c + W] += sums[N + R]
                grad_d[k, c : c + W] += sums[N + R + 1]


def groups_of(inputs: list[Any], threads: int) -> int:
    """Return G for `fill`: the arrays of the arguments of `model.scan.hybrid_scan`, in order."""
    images, _, channels = inputs[0].shape
    return divide(images * channels // width(channels), len(inputs[6]), threads)


def fill(inputs: list[Any], y: Any, threads: int) -> None:
    """Fill y (G, b, L, D), whose sum over G is the scan of `inputs`, with so many threads."""
    block, (groups, images, _, channels) = block_shape(y.shape[3]), y.shape

    def work(_: int, start: int, stop: int) -> None:
        _forward_units(block, *inputs, y, start, stop)

    share(groups * images * channels // width(channels), threads, work)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _scan(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Run the forward kernel as a torch operator; shapes as in `model.scan.hybrid_scan`."""
    inputs = _arrays(u, selection, A, D, dt_weight, dt_bias, order)
    threads = torch.get_num_threads()
    groups = groups_of(inputs, threads)
    y = torch.empty(groups, *u.shape)
    fill(inputs, y.numpy(), threads)
    return y[0] if groups == 1 else y.sum(dim=0)


def _scan_backward(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor, grad_y: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of u, selection, A, D, dt_weight and dt_bias."""
    inputs = _arrays(u, selection, A, D, dt_weight, dt_bias, order, grad_y)
    images, L, channels = u.shape
    block = block_shape(channels)
    threads = torch.get_num_threads()
    groups = divide(images, order.shape[0], threads)
    grad_u = torch.empty(groups, images, L, channels)
    grad_selection = torch.empty_like(selection, memory_format=torch.contiguous_format)
    shares = [torch.zeros(threads, *p.shape) for p in (A, D, dt_weight, dt_bias)]

    def work(thread: int, start: int, stop: int) -> None:
        thread_shares = (share[thread].numpy() for share in shares)
        outputs = (grad_u.numpy(), grad_selection.numpy(), *thread_shares)
        _backward_units(block, *inputs, *outputs, start, stop)

    share(groups * images, threads, work)
    total_u = grad_u[0] if groups == 1 else grad_u.sum(dim=0)
    grad_a, grad_d, grad_weight, grad_bias = (share.sum(dim=0) for share in shares)
    return total_u, grad_selection, grad_a, grad_d, grad_weight, grad_bias


# `torch.library.custom_op` would import torch's compiler at the first call, which takes a second.
_OPERATORS: Any = torch.library.Library("mambaad", "FRAGMENT")  # type: ignore[no-untyped-call]
_INPUTS = (
    "Tensor u, Tensor selection, Tensor A, Tensor D, Tensor dt_weight, Tensor dt_bias, Tensor order"
)
_OPERATORS.define(f"hybrid_scan({_INPUTS}) -> Tensor")
_OPERATORS.define(
    f"hybrid_scan_backward({_INPUTS}, Tensor grad_y) -> ({', '.join(['Tensor'] * 6)})"
)
_OPERATORS.impl("hybrid_scan", _scan, "CPU")
_OPERATORS.impl("hybrid_scan_backward", _scan_backward, "CPU")
scan: Any = torch.ops.mambaad.hybrid_scan.default
scan_backward: Any = torch.ops.mambaad.hybrid_scan_backward.default


@torch.library.register_fake("mambaad::hybrid_scan", lib=_OPERATORS)
def _(u: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(u)


@torch.library.register_fake("mambaad::hybrid_scan_backward", lib=_OPERATORS)
def _(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in tensors[:6])


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    return (*scan_backward(*ctx.saved_tensors, grad_y), None)


torch.library.register_autograd(
    "mambaad::hybrid_scan", _backward, setup_context=_save_inputs, lib=_OPERATORS
)
