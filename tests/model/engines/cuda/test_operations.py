"""The fused kernels against torch's operations: interpreted here, compiled on a GPU."""

import pytest
import torch

from model.engines.cuda import plain
from model.engines.cuda.network import operations
from model.engines.cuda.operations import Norm

pytest.importorskip("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SIZES = [(2, 3, 5, 12), (1, 9, 8, 66), (1, 1, 1, 1)]
"""Fewer pixels than a program takes, more channels than one holds, a single value."""
LARGE = (1, 83, 50, 1)
"""More tiles than there are chunks."""


@pytest.fixture(scope="module")
def fused():
    return operations(fused=True)


def wide(size, dtype=torch.float32, parts=3):
    """Return a map of several slices; neighbours of a slice must not be read or written."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(*size[:3], parts * size[3], generator=generator) * 2 + 1
    return values.to(DEVICE, dtype)


def piece(values, size, index):
    return values[..., index * size[3] : (index + 1) * size[3]]


def vector(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)


def check(actual, expected, dtype):
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_are_normed_gated_and_moved(fused, size, dtype):
    values = wide(size, dtype)
    x, gate = piece(values, size, 0), piece(values, size, 2)
    norm = Norm(vector(size[3]), vector(size[3]) + 1, 1e-5)
    moves = torch.randperm(size[1] * size[2], dtype=torch.int32).to(DEVICE)
    check(fused.row_norm(x, norm, dtype), plain.row_norm(x, norm, dtype), dtype)
    normed = fused.row_norm(x, norm, dtype, gate, moves)
    check(normed, plain.row_norm(x, norm, dtype, gate, moves), dtype)


@pytest.mark.parametrize(
    ("size", "side", "dtype"),
    [(SIZES[0], 3, torch.float32), (SIZES[0], 7, torch.float16), (SIZES[2], 5, torch.float32),
     (SIZES[1], 3, torch.float32)],
)  # fmt: skip
def test_depthwise_windows(fused, size, side, dtype):
    values = wide(size, dtype)
    windows, bias = vector(side * side, size[3]) / side, vector(size[3])
    x = piece(values, size, 1)
    check(fused.depthwise(x, windows), plain.depthwise(x, windows), dtype)
    into, expected = wide(size, dtype), wide(size, dtype)
    fused.depthwise(x, windows, bias, silu=True, out=piece(into, size, 2))
    plain.depthwise(x, windows, bias, silu=True, out=piece(expected, size, 2))
    check(into, expected, dtype)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        *((size, torch.float32) for size in SIZES),
        (SIZES[0], torch.bfloat16),
        (LARGE, torch.float32),
    ],
)
def test_instance_norms(fused, size, dtype):
    values = wide(size, dtype) * 0.25 + 8  # a mean far from 0 costs digits when squares are summed
    x = piece(values, size, 1)
    check(fused.instance_norm_silu(x), plain.instance_norm_silu(x), dtype)
    into, expected = wide(size, dtype), wide(size, dtype)
    fused.instance_norm_silu(x, out=piece(into, size, 0))
    plain.instance_norm_silu(x, out=piece(expected, size, 0))
    check(into, expected, dtype)


@pytest.mark.parametrize("size", SIZES)
def test_distances(fused, size):
    values = wide(size, torch.float32)
    teacher, student = piece(values, size, 0), piece(values, size, 2)
    distances = fused.distance(teacher.half(), student)
    check(distances, plain.distance(teacher.half(), student), torch.float32)
    assert torch.isnan(fused.distance(teacher * torch.nan, student)).all()


def test_a_map_with_gaps_is_refused(fused):
    values = wide((1, 4, 4, 8), torch.float32)
    with pytest.raises(ValueError, match="channels-last map without gaps"):
        fused.instance_norm_silu(values[:, :, :3])
