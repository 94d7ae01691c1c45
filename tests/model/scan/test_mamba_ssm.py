"""The published data flow, with a version of mamba_ssm's function that runs on the CPU.

mamba_ssm itself needs CUDA to be built. The stand-in checks the real function's requirements for
its arguments: shapes, float32, the last dimension contiguous.
"""

import sys
from types import ModuleType

import pytest
import torch
from torch.nn.functional import softplus

from benchmarks import published_flow
from model.errors import BackendUnavailable
from model.scan import SCANS, hybrid_scan, mamba_ssm, order_table

INTERFACE = "mamba_ssm.ops.selective_scan_interface"


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
    return_last_state=False,
):  # fmt: skip
    """mamba_ssm's signature; u, delta (b, D, L), A (D, N), B, C (b, G, N, L), D, delta_bias (D)."""
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    assert delta.shape == u.shape
    assert A.shape == (channels, states)
    assert B.shape == C.shape == (batch, groups, states, length)
    assert D.shape == delta_bias.shape == (channels,)
    assert z is None
    assert all(x.dtype == torch.float32 for x in (u, delta, A, B, C, D, delta_bias))
    assert all(x.stride(-1) == 1 or x.shape[-1] == 1 for x in (u, delta, B, C))
    delta = delta + delta_bias[:, None]
    delta = softplus(delta) if delta_softplus else delta
    B, C = (x.repeat_interleave(channels // groups, dim=1) for x in (B, C))
    state, ys = u.new_zeros(batch, channels, states), []
    for t in range(length):
        step = delta[:, :, t, None]
        state = torch.exp(step * A) * state + step * B[..., t] * u[:, :, t, None]
        ys.append((state * C[..., t]).sum(dim=-1) + D * u[:, :, t])
    y = torch.stack(ys, dim=-1)
    return (y, state) if return_last_state else y


@pytest.fixture
def _stand_in(monkeypatch):
    interface = ModuleType(INTERFACE)
    interface.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, INTERFACE, interface)


def case(scan="hilbert", directions=8, side=4, dtype=torch.float64, channels=6):
    generator = torch.Generator().manual_seed(7)
    K, N, R, L = directions, 3, 2, side * side

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float32).to(dtype)

    inputs = [
        normal(2, L, channels), normal(2, L, K, R + 2 * N), -normal(K, channels, N).exp(),
        normal(K, channels), normal(K, channels, R), normal(K, channels) - 2,
    ]  # fmt: skip
    return inputs, torch.from_numpy(order_table(scan, directions, side, side).copy())


def assert_equal_values_and_gradients(scan, inputs, order):
    fast = [x.float().requires_grad_() for x in inputs]
    slow = [x.clone().requires_grad_() for x in inputs]
    y, expected = scan(*fast, order), hybrid_scan(*slow, order, backend="reference")
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(8))
    got = torch.autograd.grad(y, fast, grad)
    wanted = torch.autograd.grad(expected, slow, grad.double())
    for g, w in zip(got, wanted, strict=True):
        assert (g.double() - w).norm() <= 1e-5 * w.norm()


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("directions", [2, 4, 8])
def test_the_published_flow_equals_the_reference(scan, directions):
    inputs, order = case(scan, directions)
    assert_equal_values_and_gradients(mamba_ssm.scan, inputs, order)


@pytest.mark.parametrize("side", [1, 4, 9])  # one step, less than a chunk, and a part of a second
def test_the_eager_yardstick_equals_the_reference(side):
    inputs, order = case("sweep", 4, side)
    assert_equal_values_and_gradients(published_flow.scan, inputs, order)


@pytest.mark.usefixtures("_stand_in")
def test_the_output_has_the_inputs_dtype():
    inputs, order = case(dtype=torch.bfloat16)
    assert mamba_ssm.scan(*inputs, order).dtype == torch.bfloat16


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, INTERFACE, None)
    inputs, order = case()
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[mamba-ssm\]"):
        mamba_ssm.scan(*inputs, order)


@pytest.mark.usefixtures("_stand_in")
def test_tensors_on_the_cpu_are_refused():
    inputs, order = case(dtype=torch.float32)
    with pytest.raises(BackendUnavailable, match="on a CUDA device, got cpu"):
        hybrid_scan(*inputs, order, backend="mamba_ssm")
