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
# Adding 1.5 * 2^23 to a float leaves its rounded value in the low mantissa bits; with the exponent
# bias added too, those bits are the exponent field of 2^round(x) and only have to be shifted up.
_ROUND = 1.5 * 2.0**23 + 127


def _fit(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, degree: int) -> Any:
    """Return the polynomial, lowest power first, of least relative error on [low, high]."""
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    value = function(x)
    powers = np.vander(x, degree + 1, increasing=True)
    return np.linalg.lstsq(powers / value[:, None], np.ones_like(value), rcond=None)[0]


# 2^x = 1 + x q(x): exact at 0, because states that hardly decay accumulate any error there.
_EXP2 = (1.0, *_fit(lambda x: np.expm1(x * LN_2) / x, -0.5, 0.5, 4))
_LOG1P_OVER_X = _fit(lambda x: np.log1p(x) / x, 0.0, 1.0, 9)


class Lanes:
    """Emits the arithmetic of one block into `builder`; every method returns LLVM values."""

    def __init__(self, builder: Any, vectors: int, lanes: int) -> None:
        self.builder = builder
        self.vectors = vectors
        self.lanes = lanes
        self.width = vectors * lanes
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
        """Return the pointer to row `index` of an (…, W) array."""
        return self.builder.gep(pointer, [self.builder.mul(index, _I64(self.width))])

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
        rounded = self.max(self.fma(a, b, self.constant(_ROUND)), self.constant(_ROUND - 127))
        integer = self.sub(rounded, self.constant(_ROUND))
        fraction = self.fma(a, b, self.neg(integer))
        return self.mul(self.polynomial(_EXP2, fraction), self._as_power(rounded))

    def _as_power(self, rounded: Block) -> Block:
        shift = ir.Constant(self._int_type, [23] * self.lanes)
        bits = [self.builder.bitcast(x, self._int_type) for x in rounded]
        return [self.builder.bitcast(self.builder.shl(x, shift), self._type) for x in bits]

    def softplus(self, x: Block) -> Block:
        """Return log(1 + e^x), without overflow."""
        magnitude = self.max(x, self.neg(x))
        e = self.exp2_of_product(magnitude, self.constant(-LOG2_E))
        log1p_over_e = self.polynomial(_LOG1P_OVER_X, e)
        return self.fma(e, log1p_over_e, self.max(x, self.constant(0)))

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
