"""How a scan is cut into programs: a fixed rule by shape, without tuning at start-up.

    b  batch     L  positions    K  directions    D  channels    N  states    R  rank of delta
    block        channels a program advances, one a lane for 32; with fewer, 2 or 4 lanes share a
                 channel's states, which gives more and shorter programs for little extra work
    groups       outputs that directions are added into: a program walks K / groups directions
    chunk        steps a program walks; more than one chunk needs a second walk, for the ends

The rule models the GPU: the instructions of a step (counted in Triton's machine code for sm_90),
the cycles of its exponentials, the number of programs for each scheduler, and the latency of a
program alone on a scheduler. It estimates the cost of every plan and takes the cheapest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

LANES = 32
SCHEDULERS = 4
"""Warp schedulers of a multiprocessor; each issues one instruction a cycle."""

CYCLES_AN_EXPONENTIAL = 8
"""Cycles of a scheduler's special function unit for the exponentials of one warp."""

_SHORTEST_CHUNK = 16
_MOST_CHUNKS = 64
_LATENCY = 150  # cycles that a lone warp waits in a step, on its dependent chain
_LAUNCH = 5000  # cycles of one more kernel launch
_BYTES_A_CYCLE = 1900  # of device memory: 3.35 TB/s at 1.755 GHz
_REGISTERS = 240


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to cut a scan; see the module's docstring."""

    block: int
    groups: int
    chunk: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that a plan depends on."""

    images: int
    L: int
    K: int
    D: int
    N: int
    R: int

    def rows(self, block: int) -> tuple[float, float]:
        """Return the numbers of states and of projection weights in a lane."""
        lanes = LANES // block
        return padded(self.N) / lanes, padded(self.R) / lanes

    def registers(self, block: int) -> float:
        """Return the registers that a lane needs."""
        states, weights = self.rows(block)
        return 46 + 6 * states + 3 * weights

    def step_cycles(self, block: int) -> float:
        """Return a scheduler's cycles for one step: the larger of issue and exponentials."""
        states, weights = self.rows(block)
        return max(55 + 5 * states + 1.4 * weights, CYCLES_AN_EXPONENTIAL * (states + 2))


def register_limit(shape: Shape, block: int) -> int:
    """Return the register limit to compile the forward kernels with.

    Without it, the loads before the loop take all registers, so that fewer programs run at once.
    """
    return min(255, -(-int(shape.registers(block)) // 8) * 8)


def padded(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()


def cycles(shape: Shape, plan: Plan, multiprocessors: int) -> float:
    """Return the estimated cycles of a plan."""
    step = shape.step_cycles(plan.block)
    blocks = -(-shape.D // plan.block)
    programs = shape.images * plan.groups * blocks * plan.chunks
    waves = -(-programs // (multiprocessors * SCHEDULERS))
    walk = max(step + _LATENCY, waves * step) * plan.chunk * (shape.K // plan.groups)
    total = walk
    if plan.chunks > 1:
        total += 0.9 * walk + _LAUNCH + waves * plan.chunks / 2 * 60
    if plan.groups > 1:
        size = 4 * shape.images * shape.L * shape.D
        total += _LAUNCH + (plan.groups + 1) * size / _BYTES_A_CYCLE
    return total


@lru_cache(maxsize=256)
def plan_forward(shape: Shape, multiprocessors: int) -> Plan:
    """Return the cheapest plan of the scan."""
    return min(_plans(shape), key=lambda plan: cycles(shape, plan, multiprocessors))


def _plans(shape: Shape) -> Iterator[Plan]:
    for block in _blocks(shape):
        groups = shape.K
        while True:
            yield Plan(block, groups, shape.L, 1)
            if groups % 2:
                break
            groups //= 2
        chunks = 2
        while chunks <= _MOST_CHUNKS and shape.L // chunks >= _SHORTEST_CHUNK:
            chunk = -(-shape.L // chunks)
            yield Plan(block, shape.K, chunk, -(-shape.L // chunk))
            chunks *= 2


def _blocks(shape: Shape) -> list[int]:
    """Return the blocks whose states fit the registers, or 8 if none do."""
    widths = [32, 16, 8]
    return [w for w in widths if shape.registers(w) <= _REGISTERS] or widths[-1:]


_GRADIENT_CHUNK = 64
_SCRATCH_BYTES = 64 * 1024 * 1024
_PROGRAMS_A_SCHEDULER = 2
_MOST_BACKWARD = 200  # forward registers up to which the backward kernel fits


@dataclass(frozen=True, slots=True)
class GradientPlan:
    """How the backward pass is cut: `programs` take (chunk, image, direction, block) units in turn.

    Each stores the states of one chunk in its scratch array, so memory depends on the number of
    programs, not on the length of the sequence.
    """

    block: int
    chunk: int
    chunks: int
    programs: int


@lru_cache(maxsize=256)
def plan_backward(shape: Shape, multiprocessors: int) -> GradientPlan:
    """Return the plan for the gradients of a scan."""
    narrow = [w for w in (32, 16, 8) if shape.registers(w) <= _MOST_BACKWARD]
    block = (narrow or [8])[0]
    chunk = min(shape.L, _GRADIENT_CHUNK)
    chunks = -(-shape.L // chunk)
    units = chunks * shape.images * shape.K * -(-shape.D // block)
    scratch = 4 * chunk * padded(shape.N) * block
    most = max(1, _SCRATCH_BYTES // scratch)
    resident = multiprocessors * SCHEDULERS * _PROGRAMS_A_SCHEDULER
    return GradientPlan(block, chunk, chunks, min(units, resident, most))
