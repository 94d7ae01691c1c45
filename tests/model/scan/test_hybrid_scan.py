"""Every backend against the reference, the reference against the definition, and gradients."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from model.errors import BackendUnavailable
from model.scan import DIRECTIONS, SCANS, hybrid_scan, order_table
from model.scan.numba import backend as cpu
from model.scan.numba import units

TOLERANCE = {torch.float32: 1e-6}
"""Relative norm of the difference to the reference in float64, per dtype of a fast backend."""


@dataclass(frozen=True)
class Case:
    batch: int
    size: tuple[int, int]
    channels: int
    directions: int
    rank: int
    states: int
    scan: str

    def inputs(self, dtype=torch.float32):
        generator = torch.Generator().manual_seed(7)
        L = self.size[0] * self.size[1]
        K, D, R, N = self.directions, self.channels, self.rank, self.states

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        inputs = [
            normal(self.batch, L, D),
            normal(self.batch, L, K, R + 2 * N) * 0.5,
            -torch.exp(normal(K, D, N)),
            normal(K, D),
            normal(K, D, R) * 0.5,
            normal(K, D) - 2,
        ]
        return [x.to(dtype) for x in inputs]  # the same float32 values in every dtype

    def order(self):
        return torch.from_numpy(order_table(self.scan, self.directions, *self.size).copy())


CASES = {
    "hilbert": Case(2, (8, 8), 48, 4, 2, 4, "hilbert"),
    "wide": Case(1, (4, 4), 448, 8, 14, 4, "zorder"),
    "paper": Case(1, (16, 16), 64, 8, 4, 16, "hilbert"),
    "rectangle": Case(1, (6, 10), 16, 8, 3, 5, "zigzag"),
    "padded": Case(2, (3, 5), 21, 2, 1, 3, "scan"),
    "five-vectors": Case(3, (4, 8), 80, 2, 5, 1, "sweep"),
    "chunked": Case(1, (32, 32), 16, 2, 1, 16, "sweep"),
    "one-position": Case(2, (1, 1), 8, 4, 2, 2, "hilbert"),
}


def relative(value, expected):
    norm = expected.double().norm().clamp(min=1e-30)  # an exact 0 must be met exactly
    return ((value.double() - expected.double()).norm() / norm).item()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cpu_forward_equals_the_reference(case):
    y = hybrid_scan(*case.inputs(), case.order(), backend="cpu")
    expected = hybrid_scan(*case.inputs(torch.float64), case.order(), backend="reference")
    assert relative(y, expected) < TOLERANCE[torch.float32]


def test_a_processor_without_a_table_of_powers_computes_the_same(monkeypatch):
    monkeypatch.setattr(units, "_has_avx2_alone", lambda: False)
    units.block_shape.cache_clear()
    case = CASES["hilbert"]
    try:
        y = hybrid_scan(*case.inputs(), case.order(), backend="cpu")
    finally:
        units.block_shape.cache_clear()
    expected = hybrid_scan(*case.inputs(torch.float64), case.order(), backend="reference")
    assert relative(y, expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("speed", [1e-4, 1e-2, 1e2, 1e4, 1e6])
def test_states_that_hardly_decay_or_vanish_at_once_equal_the_reference(speed):
    case = CASES["hilbert"]
    u, selection, A, *others = case.inputs()
    y = hybrid_scan(u, selection, A * speed, *others, case.order(), backend="cpu")
    exact = [x.double() for x in (u, selection, A * speed, *others)]
    expected = hybrid_scan(*exact, case.order(), backend="reference")
    assert relative(y, expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cpu_backward_equals_autograd_through_the_reference(case):
    grad_y = torch.randn(case.inputs()[0].shape, generator=torch.Generator().manual_seed(8))
    fast = [x.requires_grad_() for x in case.inputs()]
    slow = [x.requires_grad_() for x in case.inputs(torch.float64)]
    y = hybrid_scan(*fast, case.order(), backend="cpu")
    expected_y = hybrid_scan(*slow, case.order(), backend="reference")
    gradients = torch.autograd.grad(y, fast, grad_y)
    expected = torch.autograd.grad(expected_y, slow, grad_y.double())
    names = ("u", "selection", "A", "D", "dt_weight", "dt_bias")
    differences = {n: relative(*g) for n, *g in zip(names, gradients, expected, strict=True)}
    assert all(d < TOLERANCE[torch.float32] for d in differences.values()), differences


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_cpu_walks_every_order(scan, directions):
    case = Case(1, (8, 8), 16, directions, 1, 2, scan)
    y = hybrid_scan(*case.inputs(), case.order(), backend="cpu")
    expected = hybrid_scan(*case.inputs(torch.float64), case.order(), backend="reference")
    assert relative(y, expected) < TOLERANCE[torch.float32]


def test_the_reference_is_the_recurrence_of_the_paper():
    """One channel, one state, two opposite sweeps, computed by hand in NumPy."""
    case = Case(1, (1, 3), 1, 2, 1, 1, "sweep")
    u, selection, A, D, dt_weight, dt_bias = (x.numpy() for x in case.inputs(torch.float64))
    expected = np.zeros(3)
    for k, order in enumerate(((0, 1, 2), (2, 1, 0))):
        state = 0.0
        for p in order:
            dt, B, C = selection[0, p, k]
            delta = np.log1p(np.exp(dt_weight[k, 0, 0] * dt + dt_bias[k, 0]))
            state = np.exp(delta * A[k, 0, 0]) * state + delta * B * u[0, p, 0]
            expected[p] += C * state + D[k, 0] * u[0, p, 0]
    y = hybrid_scan(*case.inputs(torch.float64), case.order(), backend="reference")
    np.testing.assert_allclose(y[0, :, 0].numpy(), expected, rtol=1e-12)


def test_the_reference_passes_gradcheck():
    case = Case(1, (2, 2), 2, 2, 1, 2, "hilbert")
    inputs = [x.requires_grad_() for x in case.inputs(torch.float64)]
    order = case.order()
    assert torch.autograd.gradcheck(lambda *x: hybrid_scan(*x, order, backend="reference"), inputs)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_threads_change_nothing_that_matters(threads, batch):
    case = Case(batch, (8, 8), 48, 4, 2, 4, "hilbert")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        inputs = [x.requires_grad_() for x in case.inputs()]
        y = hybrid_scan(*inputs, case.order(), backend="cpu")
        gradients = torch.autograd.grad(y.square().sum(), inputs)
    finally:
        torch.set_num_threads(before)
    slow = [x.requires_grad_() for x in case.inputs(torch.float64)]
    expected_y = hybrid_scan(*slow, case.order(), backend="reference")
    expected = torch.autograd.grad(expected_y.square().sum(), slow)
    assert relative(y, expected_y) < TOLERANCE[torch.float32]
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert relative(gradient, wanted) < TOLERANCE[torch.float32]


def test_extreme_deltas_stay_finite_and_right():
    """A delta of thousands forgets everything; one near 0 forgets nothing."""
    case = Case(1, (4, 4), 16, 2, 1, 4, "sweep")
    for shift in (-60.0, 3000.0):
        inputs, exact = case.inputs(), case.inputs(torch.float64)
        inputs[5], exact[5] = inputs[5] + shift, exact[5] + shift
        y = hybrid_scan(*inputs, case.order(), backend="cpu")
        expected = hybrid_scan(*exact, case.order(), backend="reference")
        assert torch.isfinite(y).all()
        assert relative(y, expected) < 1e-5


def test_inputs_need_not_be_contiguous():
    case = CASES["hilbert"]
    inputs = case.inputs()
    expected = hybrid_scan(*inputs, case.order(), backend="cpu")
    inputs[0] = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(hybrid_scan(*inputs, case.order(), backend="cpu"), expected)


def test_the_operator_meets_torchs_own_checks():
    inputs = [x.requires_grad_() for x in Case(1, (2, 2), 8, 2, 1, 2, "sweep").inputs()]
    order = Case(1, (2, 2), 8, 2, 1, 2, "sweep").order()
    torch.library.opcheck(
        cpu.scan, (*inputs, order), test_utils=("test_schema", "test_autograd_registration",
        "test_faketensor"),
    )  # fmt: skip


def test_auto_takes_the_reference_for_other_dtypes():
    case = CASES["hilbert"]
    y = hybrid_scan(*case.inputs(torch.float64), case.order())
    assert y.dtype == torch.float64


def test_backends_that_cannot_run():
    case = CASES["hilbert"]
    with pytest.raises(BackendUnavailable, match=r"float32 on the CPU, got torch\.float64"):
        hybrid_scan(*case.inputs(torch.float64), case.order(), backend="cpu")
    with pytest.raises(BackendUnavailable, match="unknown scan backend 'gpu'; have: reference"):
        hybrid_scan(*case.inputs(), case.order(), backend="gpu")
