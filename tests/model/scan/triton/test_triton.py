"""The Triton kernels against the reference: interpreted on the CPU, or compiled on a GPU.

The interpreter takes milliseconds a step, so its cases have few positions; on a GPU the same tests
also run at real sizes.
"""

from dataclasses import dataclass, replace

import pytest
import torch

from model.errors import BackendUnavailable
from model.scan import DIRECTIONS, SCANS, hybrid_scan, order_table

triton = pytest.importorskip("triton")

from model.scan import triton as cuda  # noqa: E402  # needs Triton
from model.scan.triton import launch  # noqa: E402
from model.scan.triton.plan import (  # noqa: E402
    GradientPlan,
    Plan,
    Shape,
    cycles,
    plan_backward,
    plan_forward,
)

pytestmark = pytest.mark.filterwarnings(  # the interpreter of Triton before 3.9
    "ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"
)
ON_DEVICE = torch.cuda.is_available()
DEVICE = "cuda" if ON_DEVICE else "cpu"
TOLERANCE = {torch.float32: 1e-6, torch.float16: 6e-4, torch.bfloat16: 5e-3}
"""Relative norm of the difference to the reference in float64, on the same values, per dtype.

Mostly the rounding of the output; Triton's interpreter truncates bfloat16 instead.
"""
NAMES = ("u", "selection", "A", "D", "dt_weight", "dt_bias")
gpu = pytest.mark.gpu
needs_device = pytest.mark.skipif(not ON_DEVICE, reason="needs a CUDA device")


@dataclass(frozen=True)
class Case:
    batch: int
    size: tuple[int, int]
    channels: int
    directions: int
    rank: int
    states: int
    scan: str = "sweep"

    def inputs(self, dtype=torch.float32):
        """Values of `dtype`, parameters in float32, as under autocast."""
        generator = torch.Generator().manual_seed(7)
        L = self.size[0] * self.size[1]
        K, D, R, N = self.directions, self.channels, self.rank, self.states

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        inputs = [
            normal(self.batch, L, D).to(dtype),
            (normal(self.batch, L, K, R + 2 * N) * 0.5).to(dtype),
            -torch.exp(normal(K, D, N)),
            normal(K, D),
            normal(K, D, R) * 0.5,
            normal(K, D) - 2,
        ]
        return [x.to(DEVICE) for x in inputs]

    def order(self):
        table = order_table(self.scan, self.directions, *self.size)
        return torch.from_numpy(table.copy()).to(DEVICE)

    def shape(self):
        L = self.size[0] * self.size[1]
        return Shape(self.batch, L, self.directions, self.channels, self.states, self.rank)


CASES = {
    "odd-everything": Case(1, (3, 3), 21, 2, 3, 5, "scan"),
    "two-blocks-two-images": Case(2, (2, 2), 40, 2, 1, 8),
    "paper-states": Case(1, (2, 3), 32, 2, 4, 16, "zigzag"),
    "one-state": Case(1, (2, 2), 8, 4, 1, 1, "hilbert"),
    "eight-directions": Case(1, (2, 2), 16, 8, 2, 4, "zorder"),
    "one-position": Case(1, (1, 1), 8, 2, 2, 2),
}
REAL = {
    "coarse": Case(2, (8, 8), 1024, 8, 32, 16, "hilbert"),
    "middle": Case(2, (32, 32), 256, 8, 8, 16, "hilbert"),
    "fine": Case(1, (64, 64), 128, 8, 4, 16, "hilbert"),
    "full-card": Case(32, (32, 32), 256, 8, 8, 16, "hilbert"),
    "no-power-of-two": Case(3, (17, 31), 200, 4, 13, 12, "zigzag"),
}


def parameters(small, real):
    marks = (gpu, needs_device)
    names = [pytest.param(case, id=name) for name, case in small.items()]
    return names + [pytest.param(case, id=name, marks=marks) for name, case in real.items()]


def relative(value, expected):
    norm = expected.double().norm().clamp(min=1e-30)
    return ((value.double() - expected.double()).norm() / norm).item()


def reference(inputs, order):
    return hybrid_scan(*(x.double() for x in inputs), order, backend="reference")


def gradients(y, inputs, grad_y):
    return torch.autograd.grad(y, inputs, grad_y.to(y.dtype))


@pytest.mark.parametrize("case", parameters(CASES, REAL))
def test_forward_and_backward_equal_the_reference(case):
    fast = [x.requires_grad_() for x in case.inputs()]
    slow = [x.double().detach().requires_grad_() for x in fast]
    generator = torch.Generator().manual_seed(8)
    grad_y = torch.randn(fast[0].shape, generator=generator).to(DEVICE)
    y = hybrid_scan(*fast, case.order(), backend="cuda")
    expected = hybrid_scan(*slow, case.order(), backend="reference")
    differences = {"y": relative(y, expected)}
    pairs = zip(NAMES, gradients(y, fast, grad_y), gradients(expected, slow, grad_y), strict=True)
    differences |= {name: relative(*pair) for name, *pair in pairs}
    assert all(d < TOLERANCE[torch.float32] for d in differences.values()), differences


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "case", parameters({"small": Case(1, (2, 2), 16, 2, 2, 4)}, {"fine": REAL["fine"]})
)
def test_sixteen_bit_inputs_meet_their_tolerance(case, dtype):
    fast = [x.requires_grad_() for x in case.inputs(dtype)]
    slow = [x.double().detach().requires_grad_() for x in fast]
    y = hybrid_scan(*fast, case.order(), backend="cuda")
    expected = hybrid_scan(*slow, case.order(), backend="reference")
    got = gradients(y, fast, torch.ones_like(y))
    assert [g.dtype for g in got] == [x.dtype for x in fast]
    assert relative(y, expected) < TOLERANCE[dtype]
    wanted = gradients(expected, slow, torch.ones_like(expected))
    differences = {n: relative(*pair) for n, *pair in zip(NAMES, got, wanted, strict=True)}
    assert all(d < TOLERANCE[dtype] for d in differences.values()), differences


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_every_order_is_walked(scan, directions):
    size = (8, 8) if ON_DEVICE else (4, 4) if directions == 2 else (2, 2)
    case = Case(1, size, 8, directions, 1, 1, scan)
    y = hybrid_scan(*case.inputs(), case.order(), backend="cuda")
    assert relative(y, reference(case.inputs(), case.order())) < TOLERANCE[torch.float32]


CUTS = [
    Plan(block=32, groups=4, chunk=6, chunks=1),
    Plan(block=32, groups=1, chunk=6, chunks=1),  # four directions into one output
    Plan(block=16, groups=2, chunk=6, chunks=1),
    Plan(block=8, groups=4, chunk=4, chunks=2),  # a shorter last chunk
    Plan(block=32, groups=4, chunk=1, chunks=6),
]


@pytest.mark.parametrize("plan", CUTS, ids=str)
def test_how_a_scan_is_cut_changes_nothing(plan):
    case = Case(1, (2, 3), 19, 4, 2, 3)
    y = launch.forward(launch.prepared(*case.inputs(), case.order()), plan)
    assert relative(y, reference(case.inputs(), case.order())) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("chunk", [4, 9])
def test_how_the_way_back_is_cut_changes_nothing(chunk):
    case = Case(1, (3, 3), 12, 2, 2, 3)
    plan = GradientPlan(block=8, chunk=chunk, chunks=-(-9 // chunk), programs=3)
    slow = [x.double().requires_grad_() for x in case.inputs()]
    expected = reference(slow, case.order())
    inputs = launch.prepared(*case.inputs(), case.order())
    got = launch.backward(inputs, torch.ones_like(inputs[0]), plan)
    got[2], got[4] = got[2].transpose(1, 2), got[4].transpose(1, 2)
    wanted = gradients(expected, slow, torch.ones_like(expected))
    differences = {n: relative(*pair) for n, *pair in zip(NAMES, got, wanted, strict=True)}
    assert all(d < TOLERANCE[torch.float32] for d in differences.values()), differences


def test_extreme_deltas_stay_finite_and_right():
    """A delta of thousands forgets everything; one near 0 forgets nothing."""
    case = Case(1, (2, 2), 8, 2, 1, 2)
    for bias in (-100.0, -20.0, 20.0, 3000.0):
        inputs = case.inputs()
        inputs[5] = inputs[5] + bias
        y = hybrid_scan(*inputs, case.order(), backend="cuda")
        assert relative(y, reference(inputs, case.order())) < 1e-5


def test_inputs_need_not_be_contiguous_and_the_order_may_be_int64():
    case = Case(1, (2, 2), 8, 2, 1, 2)
    inputs = case.inputs()
    expected = hybrid_scan(*inputs, case.order(), backend="cuda")
    inputs[0] = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    y = hybrid_scan(*inputs, case.order().long(), backend="cuda")
    assert torch.equal(y, expected)


def test_parameters_that_lie_along_the_channels_are_not_copied():
    case = Case(1, (2, 2), 8, 2, 2, 3)
    u, selection, A, D, dt_weight, dt_bias = case.inputs()
    A, dt_weight = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (A, dt_weight))
    arguments = (u, selection, A, D, dt_weight, dt_bias, case.order())
    prepared = launch.prepared(*arguments)
    assert [x.data_ptr() for x in prepared] == [x.data_ptr() for x in arguments]


@pytest.mark.gpu
@needs_device
def test_the_same_input_gives_the_same_bits():
    case = REAL["fine"]
    runs = [hybrid_scan(*case.inputs(), case.order(), backend="cuda") for _ in range(3)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


@pytest.mark.gpu
@needs_device
def test_auto_takes_the_kernels_on_a_device():
    case = REAL["fine"]
    expected = hybrid_scan(*case.inputs(), case.order(), backend="cuda")
    assert torch.equal(hybrid_scan(*case.inputs(), case.order()), expected)


def test_the_operator_meets_torchs_own_checks():
    case = Case(1, (1, 2), 8, 2, 1, 1)
    inputs = [x.requires_grad_() for x in case.inputs()]
    torch.library.opcheck(
        cuda.scan, (*inputs, case.order()),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )  # fmt: skip


def test_scans_that_the_kernels_do_not_take():
    case = Case(1, (1, 2), 8, 2, 1, 1)
    with pytest.raises(BackendUnavailable, match=r"bfloat16 or float16, got torch\.float64"):
        doubles = [x.double() for x in case.inputs()]
        hybrid_scan(*doubles, case.order(), backend="cuda")
    wide = replace(case, states=65)
    with pytest.raises(BackendUnavailable, match="up to 64 states and rank 128, got 65 and 1"):
        hybrid_scan(*wide.inputs(), wide.order(), backend="cuda")


def test_tensors_on_the_cpu_are_refused_where_kernels_are_compiled(monkeypatch):
    case = Case(1, (1, 2), 8, 2, 1, 1)
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(BackendUnavailable, match="on a CUDA device, got cpu"):
        inputs = [x.cpu() for x in case.inputs()]
        hybrid_scan(*inputs, case.order().cpu(), backend="cuda")


STAGES = (  # L, D, R of the paper's four stages
    (64, 1024, 32),
    (256, 512, 16),
    (1024, 256, 8),
    (4096, 128, 4),
)


@pytest.mark.parametrize("images", [1, 8, 32])
@pytest.mark.parametrize(("L", "D", "R"), STAGES)
def test_a_plan_covers_the_scan_and_fills_the_card(images, L, D, R):
    shape = Shape(images, L, 8, D, 16, R)
    plan = plan_forward(shape, 132)
    assert plan.chunk * (plan.chunks - 1) < L <= plan.chunk * plan.chunks
    assert plan.chunks == 1 or plan.groups == 8  # chunks of two directions share positions
    assert 8 % plan.groups == 0
    programs = images * plan.groups * plan.chunks * -(-D // plan.block)
    unchunked = Plan(32, 8, L, 1)
    assert cycles(shape, plan, 132) <= cycles(shape, unchunked, 132)
    assert programs >= 132 * 2  # without chunks, one image of the finest stage makes 32


def test_the_way_back_is_bounded_in_memory_whatever_the_length():
    short, long = Shape(8, 4096, 8, 128, 16, 4), Shape(8, 65536, 8, 128, 16, 4)
    for shape in (short, long):
        plan = plan_backward(shape, 132)
        assert plan.chunk * plan.chunks >= shape.L
        assert plan.programs * plan.chunk * 16 * plan.block * 4 <= 64 * 2**20
