"""SIMD arithmetic for the CPU kernels, independent of the instruction set.

`Lanes` works on blocks: lists of LLVM vectors that hold W neighbouring channels, W = vectors *
lanes. LLVM turns each vector into AVX2, AVX-512 or NEON registers. exp2 and log1p are polynomials
fitted (least squares at Chebyshev nodes) to a relative error of about 1e-7.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

Block = list[Any]  # one LLVM vector value per entry

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_MANTISSA_BITS = 23
_BIAS = 127


def _fit(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, degree: int) -> Any:
    """Return the polynomial, lowest power first, of least relative error on [low, high]."""
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    value = function(x)
    powers = np.vander(x, degree + 1, increasing=True)
    return np.linalg.lstsq(powers / value[:, None], np.ones_like(value), rcond=None)[0]


def _exp2_near_0(farthest: float, degree: int) -> tuple[float, ...]:
    """Return 2^x = 1 + x q(x): exact at 0, where states that hardly decay would add up an error."""
    return (1.0, *_fit(lambda x: np.expm1(x * LN_2) / x, -farthest, farthest, degree - 1))


_EXP2 = _exp2_near_0(1 / 2, 5)
_EXP2_OF_SIXTEENTH = _exp2_near_0(1 / 16, 3)
_EIGHTH_BITS = 3
_EIGHTHS = np.arange(1 << _EIGHTH_BITS, dtype=np.int32)
_POWERS_OF_EIGHTHS = np.exp2(_EIGHTHS / len(_EIGHTHS)).astype(np.float32).view(np.int32)
_LOG1P_OVER_X = _fit(lambda x: np.log1p(x) / x, 0.0, 1.0, 9)


class Lanes:
    """Emits the arithmetic of one block into `builder`; every method returns LLVM values."""

    def __init__(
        self, builder: Any, vectors: int, lanes: int, *, has_table: bool = False, stride: int = 0
    ) -> None:
        """Make W = vectors * lanes, or a part of a block of `stride` channels.

        `has_table` says that 8 lanes are a register of AVX2, which looks up a table of 8 floats.
        """
        self.builder = builder
        self.vectors = vectors
        self.lanes = lanes
        self.width = vectors * lanes
        self.has_table = has_table
        self._stride = stride or self.width
        self._type = ir.VectorType(_F32, lanes)
        self._int_type = ir.VectorType(_I32, lanes)

    def pointer(self, address: Any) -> Any:
        """Return `address`, an integer, as a pointer to float32."""
        return self.builder.inttoptr(address, ir.PointerType(_F32))

    def scalar(self, pointer: Any, index: Any) -> Block:
        """Load `pointer[index]` into every lane."""
        value = self.builder.load(self.builder.gep(pointer, [index]))
        undefined = ir.Constant(self._type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, _I32(0))
        zeros = ir.Constant(self._int_type, [0] * self.lanes)
        return [self.builder.shuffle_vector(first, undefined, zeros)] * self.vectors

    def constant(self, value: float) -> Block:
        """Return `value` in every lane."""
        return [ir.Constant(self._type, [float(np.float32(value))] * self.lanes)] * self.vectors

    def row(self, pointer: Any, index: Any) -> Any:
        """Return the pointer to row `index` of an (…, W) array, W of the whole block."""
        return self.builder.gep(pointer, [self.builder.mul(index, _I64(self._stride))])

    def load(self, pointer: Any) -> Block:
        """Load W neighbouring floats."""
        return [self.builder.load(p, align=4) for p in self._parts(pointer)]

    def store(self, block: Block, pointer: Any) -> None:
        """Store W neighbouring floats."""
        for value, part in zip(block, self._parts(pointer), strict=True):
            self.builder.store(value, part, align=4)

    def _parts(self, pointer: Any) -> list[Any]:
        starts = [self.builder.gep(pointer, [_I64(i * self.lanes)]) for i in range(self.vectors)]
        return [self.builder.bitcast(start, ir.PointerType(self._type)) for start in starts]

    def add(self, a: Block, b: Block) -> Block:
        """Return a + b."""
        return [self.builder.fadd(x, y) for x, y in zip(a, b, strict=True)]

    def sub(self, a: Block, b: Block) -> Block:
        """Return a - b."""
        return [self.builder.fsub(x, y) for x, y in zip(a, b, strict=True)]

    def mul(self, a: Block, b: Block) -> Block:
        """Return a * b."""
        return [self.builder.fmul(x, y) for x, y in zip(a, b, strict=True)]

    def neg(self, a: Block) -> Block:
        """Return -a."""
        return [self.builder.fneg(x) for x in a]

    def max(self, a: Block, b: Block) -> Block:
        """Return the larger of a and b; b where a is NaN."""
        return [
            self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)
            for x, y in zip(a, b, strict=True)
        ]

    def fma(self, a: Block, b: Block, c: Block) -> Block:
        """Return a * b + c, fused if the machine does that faster."""
        name = f"llvm.fmuladd.v{self.lanes}f32"
        fma = self._declare(name, ir.FunctionType(self._type, [self._type] * 3))
        return [self.builder.call(fma, list(xyz)) for xyz in zip(a, b, c, strict=True)]

    def polynomial(self, coefficients: Sequence[float], x: Block) -> Block:
        """Evaluate a polynomial, lowest power first, by Horner's rule."""
        value = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def exp2_of_product(self, a: Block, b: Block) -> Block:
        """Return 2^(a * b) for a * b at most 0; 0 below 2^-127."""
        # Adding 1.5 * 2^23 / n to x leaves it in the low mantissa bits, rounded to 1 / n. With
        # the bias added too, those above the fraction's are the exponent field of the power of 2.
        bits = _EIGHTH_BITS if self.has_table else 0
        shifted = 1.5 * 2.0 ** (_MANTISSA_BITS - bits) + _BIAS
        rounded = self.max(self.fma(a, b, self.constant(shifted)), self.constant(shifted - _BIAS))
        whole = self.sub(rounded, self.constant(shifted))
        rest = self.fma(a, b, self.neg(whole))
        coefficients = _EXP2_OF_SIXTEENTH if self.has_table else _EXP2
        return self.mul(self.polynomial(coefficients, rest), self._power(rounded, bits))

    def _power(self, rounded: Block, bits: int) -> Block:
        """Return 2^x from the low mantissa bits, `bits` of them a fraction looked up in a table."""
        shift = ir.Constant(self._int_type, [_MANTISSA_BITS - bits] * self.lanes)
        low = [self.builder.bitcast(x, self._int_type) for x in rounded]
        power = [self.builder.shl(x, shift) for x in low]
        if bits:
            looked_up = [self._power_of_eighths(x) for x in low]
            power = [self.builder.add(x, y) for x, y in zip(power, looked_up, strict=True)]
        return [self.builder.bitcast(x, self._type) for x in power]

    def _power_of_eighths(self, index: Any) -> Any:
        """Look up 2^(index / 8), the low 3 bits of `index`, less its exponent and those bits."""
        shift = _MANTISSA_BITS - _EIGHTH_BITS
        rows = _POWERS_OF_EIGHTHS - (_BIAS << _MANTISSA_BITS) - (_EIGHTHS << shift)
        table = self.builder.bitcast(ir.Constant(self._int_type, rows.tolist()), self._type)
        look_up = self._declare(
            "llvm.x86.avx2.permps", ir.FunctionType(self._type, [self._type, self._int_type])
        )
        return self.builder.bitcast(self.builder.call(look_up, [table, index]), self._int_type)

    def softplus(self, x: Block) -> Block:
        """Return log(1 + e^x), without overflow."""
        magnitude = self.max(x, self.neg(x))
        e = self.exp2_of_product(magnitude, self.constant(-LOG2_E))
        log1p_over_e = self.polynomial(_LOG1P_OVER_X, e)
        return self.fma(e, log1p_over_e, self.max(x, self.constant(0)))

    def prefetch(self, pointer: Any, index: Any) -> None:
        """Bring the cache line of `pointer[index]` near."""
        byte = ir.PointerType(ir.IntType(8))
        kinds = [_I32(0), _I32(3), _I32(1)]  # to read, keep in every level, data
        name, void = "llvm.prefetch.p0i8", ir.VoidType()
        ask = self._declare(name, ir.FunctionType(void, [byte, *[_I32] * len(kinds)]))
        address = self.builder.bitcast(self.builder.gep(pointer, [index]), byte)
        self.builder.call(ask, [address, *kinds])

    def total(self, block: Block) -> Any:
        """Return the sum over all W channels, a scalar."""
        vector = block[0]
        for other in block[1:]:
            vector = self.builder.fadd(vector, other)
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f32"
        reduce = self._declare(name, ir.FunctionType(_F32, [_F32, self._type]))
        return self.builder.call(reduce, [ir.Constant(_F32, 0.0), vector], fastmath=("reassoc",))

    def _declare(self, name: str, signature: Any) -> Any:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, signature, name)


class Loop:
    """A loop from 0 to `count` - 1, `count` at least 1, that carries blocks from turn to turn.

    Emit the body with `index` and `carried`, then `close` it with the carried blocks' new values.
    """

    def __init__(self, builder: Any, count: Any, carried: Sequence[Block] = ()) -> None:
        self._builder = builder
        self._count = count
        before = builder.block
        self._body = builder.append_basic_block("loop")
        builder.branch(self._body)
        builder.position_at_end(self._body)
        self.index = self._phi(_I64, _I64(0), before)
        self.carried = [[self._phi(v.type, v, before) for v in block] for block in carried]

    def _phi(self, kind: Any, start: Any, before: Any) -> Any:
        phi = self._builder.phi(kind)
        phi.add_incoming(start, before)
        return phi

    def close(self, *values: Block) -> tuple[Block, ...]:
        """End the body; the returned blocks hold the carried values after the last turn."""
        builder = self._builder
        following = builder.add(self.index, _I64(1))
        self.index.add_incoming(following, builder.block)
        for phis, block in zip(self.carried, values, strict=True):
            for phi, value in zip(phis, block, strict=True):
                phi.add_incoming(value, builder.block)
        end = builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", following, self._count), self._body, end)
        builder.position_at_end(end)
        return values
