"""A recording computes the same as the function, with its operators only."""

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.engines.torch.recording import NotRecordable, Recording

WEIGHT = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def tensor(seed, rows=3):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


def nothing(_stage):
    pass


def everything(x, lap):
    """Use views, tensor lists in and out, derived constants, in-place work, and named arguments."""
    projection = WEIGHT.t() * 2 + torch.ones(6)
    y = x @ projection
    first, second, third = y.chunk(3, dim=1)
    lap("first")
    y = torch.cat([first, third, WEIGHT[:3, :2]], dim=1)
    y[:, ::2].mul_(3)
    y += torch.zeros_like(y, dtype=torch.float32)
    mean, largest = y.mean(dim=1, keepdim=True), second.max(dim=1)
    lap("second")
    return torch.softmax(y - mean, dim=1) + largest.values[:, None]


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.append(func.name())
        if isinstance(result, torch.Tensor):
            self.made.append(weakref.ref(result))
        return result


@torch.inference_mode()
def test_other_tensors_are_computed_as_the_function_does():
    recording = Recording(everything, tensor(1))
    stages = []
    first, other = recording(tensor(2), stages.append), recording(tensor(3), nothing)
    assert stages == ["first", "second"]
    assert torch.equal(first, everything(tensor(2), nothing))
    assert torch.equal(other, everything(tensor(3), nothing))
    unchanged = tensor(4)
    recording(unchanged, nothing)
    assert torch.equal(unchanged, tensor(4))


@torch.inference_mode()
def test_what_follows_from_constants_is_not_computed_again():
    recording = Recording(everything, tensor(1))
    with Calls() as plain:
        everything(tensor(2), nothing)
    with Calls() as recorded:
        recording(tensor(2), nothing)
    assert {"aten::t", "aten::ones"} <= set(plain.names)
    assert not {"aten::t", "aten::ones"} & set(recorded.names)
    assert plain.names.count("aten::mul.Tensor") == recorded.names.count("aten::mul.Tensor") + 1
    assert "aten::softmax.int" in recorded.names or "aten::_softmax" in recorded.names


@torch.inference_mode()
def test_tensors_are_let_go_of_as_soon_as_nothing_needs_them():
    def chain(x, lap):
        for _ in range(5):
            x = x + 1
        lap("half")
        for _ in range(5):
            x = x * 2
        return x

    recording = Recording(chain, tensor(1))
    x, alive = tensor(2), []
    with Calls() as calls:
        recording(x, lambda _stage: alive.append([made() is not None for made in calls.made]))
    assert len(calls.made) == 10
    assert alive == [[False, False, False, False, True]]


@torch.inference_mode()
def test_threads_do_not_meet():
    recording = Recording(everything, tensor(1))

    @torch.inference_mode()
    def right(seed):
        results = [recording(tensor(seed), nothing) for _ in range(100)]
        return all(torch.equal(result, everything(tensor(seed), nothing)) for result in results)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(right, range(8)))


def looks_at_values(x, _lap):
    return x * 2 if float(x.sum()) > 0 else x


def changes_a_constant(x, _lap):
    total = torch.zeros(4)
    total.add_(x.sum(dim=0))
    return total * 2


def leaves_torch(x, _lap):
    return torch.from_numpy(x.numpy() * 2)


def writes_elsewhere(x, _lap):
    return torch.mul(x, 2, out=torch.empty(3, 4))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (looks_at_values, "depends on tensors' values"),
        (changes_a_constant, "changes a constant"),
        (leaves_torch, "no operator of torch computes"),
        (writes_elsewhere, "keyword arguments"),
    ],
)
@torch.inference_mode()
def test_what_cannot_be_repeated_is_refused(function, reason):
    with pytest.raises(NotRecordable, match=reason):
        Recording(function, tensor(1))
