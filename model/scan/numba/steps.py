"""One step of the scan for one block of channels, as intrinsics of the Numba kernels.

    N  states a channel      R  rank of the delta projection
    W  channels a block      `block` has tuples whose lengths are vectors, lanes, and 1 for AVX2's
                             table: a length is part of a tuple's type, so each block shape
                             gets its own machine code

Every array argument is an address: (N, W) for `state`, `decay` and `a2` (A times log2 e),
(R, W) for `weight`, (W,) for `bias`, `d`, `u`, `y`, and (R + 2 N,) for `selection`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from model.scan.numba.vector import LN_2, LOG2_E, Block, Lanes, Loop

_F32 = ir.FloatType()
_I64 = ir.IntType(64)


_LINE = 16  # floats of a cache line
_FEW_REGISTERS = 8  # lanes of a processor with 16 registers; those with 16 lanes have 32


def _lanes(builder: Any, block: Any) -> Lanes:
    vectors, lanes, tables = block.types
    return Lanes(builder, len(vectors), len(lanes), has_table=len(tables) > 0)


@contextmanager
def _parts(v: Lanes, most: int, *pointers: Any) -> Iterator[tuple[Lanes, list[Any]]]:
    """Emit a loop over the vectors of a block, and yield what one turn works on.

    With few registers, `most` vectors at a time, so that their values and the constants stay there.
    """
    if v.lanes > _FEW_REGISTERS:
        most = v.vectors
    vectors = next(n for n in range(most, 0, -1) if v.vectors % n == 0)
    part = Lanes(v.builder, vectors, v.lanes, has_table=v.has_table, stride=v.width)
    loop = Loop(v.builder, _I64(v.vectors // vectors))
    start = v.builder.mul(loop.index, _I64(part.width))
    yield part, [v.builder.gep(pointer, [start]) for pointer in pointers]
    loop.close()


def _delta(v: Lanes, weight: Any, bias: Any, dt: Any, R: Any) -> Block:
    """softplus(weight @ dt + bias)."""
    loop = Loop(v.builder, R, [v.load(bias)])
    term = v.fma(v.scalar(dt, loop.index), v.load(v.row(weight, loop.index)), loop.carried[0])
    (projected,) = loop.close(term)
    return v.softplus(projected)


def _accumulate(v: Lanes, value: Block, pointer: Any, first: Any) -> None:
    """Add `value` at `pointer`, or store it if `first` is not 0."""
    fresh = v.builder.icmp_signed("!=", first, _I64(0))
    zero = v.constant(0)
    old = [v.builder.select(fresh, z, x) for z, x in zip(zero, v.load(pointer), strict=True)]
    v.store(v.add(old, value), pointer)


def _accumulate_scalar(v: Lanes, value: Any, pointer: Any, first: Any) -> None:
    fresh = v.builder.icmp_signed("!=", first, _I64(0))
    old = v.builder.select(fresh, ir.Constant(_F32, 0.0), v.builder.load(pointer))
    v.builder.store(v.builder.fadd(old, value), pointer)


@intrinsic
def fetch(typing: Any, block: Any, u: Any, selection: Any, y: Any, S: Any) -> Any:
    """Bring the rows of a later position near; `selection` has S floats."""
    signature = types.void(block, *[types.uintp] * 3, types.int64)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        v = _lanes(builder, block)
        u, selection, y = (v.pointer(p) for p in arguments[1:4])
        for start in range(0, v.width, _LINE):
            v.prefetch(u, _I64(start))
            v.prefetch(y, _I64(start))
        lines = builder.sdiv(builder.add(arguments[4], _I64(_LINE - 1)), _I64(_LINE))
        loop = Loop(builder, lines)
        v.prefetch(selection, builder.mul(loop.index, _I64(_LINE)))
        loop.close()
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prepare_step(
    typing: Any, block: Any, weight: Any, bias: Any, d: Any, u: Any, selection: Any, delta: Any,
    delta_u: Any, y: Any, R: Any, first: Any,
) -> Any:  # fmt: skip
    """Store delta and delta times u, and add d times u to `y` (or store it, if `first`)."""
    signature = types.void(block, *[types.uintp] * 8, *[types.int64] * 2)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        v = _lanes(builder, block)
        weight, bias, d, u, selection, delta, delta_u, y = (v.pointer(p) for p in arguments[1:9])
        R, first = arguments[9:]
        with _parts(v, 5, weight, bias, d, u, delta, delta_u, y) as (part, rows):
            weight, bias, d, u, delta, delta_u, y = rows
            delta_now, u_now = _delta(part, weight, bias, selection, R), part.load(u)
            part.store(delta_now, delta)
            part.store(part.mul(delta_now, u_now), delta_u)
            _accumulate(part, part.mul(part.load(d), u_now), y, first)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def forward_step(
    typing: Any, block: Any, state: Any, a2: Any, delta: Any, delta_u: Any, B: Any, C: Any,
    y: Any, N: Any,
) -> Any:  # fmt: skip
    """Advance `state` in place and add what it puts out to `y`."""
    signature = types.void(block, *[types.uintp] * 7, types.int64)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        v = _lanes(builder, block)
        state, a2, delta, delta_u, B, C, y = (v.pointer(p) for p in arguments[1:8])
        with _parts(v, 1, state, a2, delta, delta_u, y) as (part, rows):
            state, a2, delta, delta_u, y = rows
            delta_now, delta_u_now = part.load(delta), part.load(delta_u)
            loop = Loop(builder, arguments[8], [part.load(y)])
            h = part.row(state, loop.index)
            decay = part.exp2_of_product(delta_now, part.load(part.row(a2, loop.index)))
            source = part.mul(delta_u_now, part.scalar(B, loop.index))
            now = part.fma(decay, part.load(h), source)
            part.store(now, h)
            output = part.fma(now, part.scalar(C, loop.index), loop.carried[0])
            (total,) = loop.close(output)
            part.store(total, y)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def recompute_step(
    typing: Any, block: Any, before: Any, after: Any, decay: Any, delta: Any, a2: Any,
    weight: Any, bias: Any, u: Any, selection: Any, R: Any, N: Any,
) -> Any:  # fmt: skip
    """Advance the state from `before` to `after`; store `decay` and `delta` for the way back."""
    signature = types.void(block, *[types.uintp] * 9, *[types.int64] * 2)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        v = _lanes(builder, block)
        before, after, decay, delta, a2, weight, bias, u, selection = (
            v.pointer(p) for p in arguments[1:10]
        )
        R, N = arguments[10:]
        delta_now = _delta(v, weight, bias, selection, R)
        v.store(delta_now, delta)
        delta_u = v.mul(delta_now, v.load(u))
        B = builder.gep(selection, [R])
        loop = Loop(builder, N)
        decay_now = v.exp2_of_product(delta_now, v.load(v.row(a2, loop.index)))
        v.store(decay_now, v.row(decay, loop.index))
        source = v.mul(delta_u, v.scalar(B, loop.index))
        now = v.fma(decay_now, v.load(v.row(before, loop.index)), source)
        v.store(now, v.row(after, loop.index))
        loop.close()
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def backward_step(
    typing: Any, block: Any, before: Any, after: Any, decay: Any, delta: Any, a2: Any,
    weight: Any, d: Any, u: Any, selection: Any, grad_y: Any, grad_state: Any, grad_a: Any,
    grad_weight: Any, grad_bias: Any, grad_d: Any, grad_u: Any, grad_selection: Any,
    R: Any, N: Any, first_direction: Any, first_block: Any,
) -> Any:  # fmt: skip
    """Take one step back through the recurrence, adding to every gradient.

    `grad_state` (N, W) holds dL/dh of this step on entry, without the part from this step's output,
    and that of the step before on return. `grad_a` is with respect to A, not `a2`.
    """
    signature = types.void(block, *[types.uintp] * 17, *[types.int64] * 4)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        v = _lanes(builder, block)
        (before, after, decay, delta, a2, weight, d, u, selection, grad_y, grad_state, grad_a,
         grad_weight, grad_bias, grad_d, grad_u, grad_selection) = (
            v.pointer(p) for p in arguments[1:18]
        )  # fmt: skip
        R, N, first_direction, first_block = arguments[18:]
        dy, delta_now, u_now = v.load(grad_y), v.load(delta), v.load(u)
        delta_u = v.mul(delta_now, u_now)
        B, grad_B = builder.gep(selection, [R]), builder.gep(grad_selection, [R])
        C, grad_C = builder.gep(B, [N]), builder.gep(grad_B, [N])

        d_source, d_exponent = _backward_states(
            v, dy, delta_now, delta_u, (before, after, decay, a2, grad_state, grad_a),
            (B, C, grad_B, grad_C), N, first_block,
        )  # fmt: skip
        _accumulate(v, v.fma(delta_now, d_source, v.mul(dy, v.load(d))), grad_u, first_direction)
        v.store(v.fma(dy, u_now, v.load(grad_d)), grad_d)
        d_delta = v.fma(u_now, d_source, v.mul(v.constant(LN_2), d_exponent))
        # softplus' is the sigmoid of its input, and 1 - e^-softplus(x) is that sigmoid
        sigmoid = v.sub(v.constant(1), v.exp2_of_product(delta_now, v.constant(-LOG2_E)))
        d_projected = v.mul(d_delta, sigmoid)
        v.store(v.add(v.load(grad_bias), d_projected), grad_bias)
        _backward_projection(
            v, d_projected, weight, selection, grad_weight, grad_selection, R, first_block
        )
        return context.get_dummy_value()

    return signature, generate


def _backward_states(
    v: Lanes, dy: Block, delta: Block, delta_u: Block, rows: tuple[Any, ...],
    scalars: tuple[Any, ...], N: Any, first_block: Any,
) -> tuple[Block, ...]:  # fmt: skip
    """Loop over the states; return the gradients of the source term B u delta and of delta a2."""
    before, after, decay, a2, grad_state, grad_a = rows
    B, C, grad_B, grad_C = scalars
    loop = Loop(v.builder, N, [v.constant(0), v.constant(0)])
    n = loop.index
    g = v.fma(dy, v.scalar(C, n), v.load(v.row(grad_state, n)))
    h = v.load(v.row(after, n))
    _accumulate_scalar(v, v.total(v.mul(dy, h)), v.builder.gep(grad_C, [n]), first_block)
    _accumulate_scalar(v, v.total(v.mul(g, delta_u)), v.builder.gep(grad_B, [n]), first_block)
    carried_back = v.mul(g, v.load(v.row(decay, n)))
    v.store(carried_back, v.row(grad_state, n))
    exponent = v.mul(carried_back, v.load(v.row(before, n)))
    row_a = v.row(grad_a, n)
    v.store(v.fma(exponent, delta, v.load(row_a)), row_a)
    return loop.close(
        v.fma(g, v.scalar(B, n), loop.carried[0]),
        v.fma(exponent, v.load(v.row(a2, n)), loop.carried[1]),
    )


def _backward_projection(
    v: Lanes, d_projected: Block, weight: Any, dt: Any, grad_weight: Any, grad_dt: Any,
    R: Any, first_block: Any,
) -> None:  # fmt: skip
    loop = Loop(v.builder, R)
    r = loop.index
    row = v.row(grad_weight, r)
    v.store(v.fma(d_projected, v.scalar(dt, r), v.load(row)), row)
    total = v.total(v.mul(d_projected, v.load(v.row(weight, r))))
    _accumulate_scalar(v, total, v.builder.gep(grad_dt, [r]), first_block)
    loop.close()
