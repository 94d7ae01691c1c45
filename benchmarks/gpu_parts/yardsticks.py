"""The published data flow, as far as this machine has it.

Eight permuted float32 copies, and mamba_ssm's kernel over them. Where mamba_ssm cannot be imported,
two renderings stand for it: its algorithm in Triton, and eager PyTorch in chunks. Both are slower
or faster than it by what nobody knows here; we are held to the faster.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from unittest.mock import patch

from torch import Tensor

from benchmarks import published_flow
from model.errors import BackendUnavailable
from model.network import blocks
from model.scan import mamba_ssm

Scan = Callable[..., Tensor]


def yardsticks() -> dict[str, Scan]:
    """Return the renderings there are, by what to call them: mamba_ssm, or its stand-ins."""
    try:
        mamba_ssm._selective_scan_fn()
    except BackendUnavailable:
        return dict(_stand_ins())
    return {f"mamba_ssm {version('mamba_ssm')}": mamba_ssm.scan}


def _stand_ins() -> Iterator[tuple[str, Scan]]:
    if find_spec("triton") is not None:
        from benchmarks.gpu_parts.selective_scan import selective_scan  # noqa: PLC0415

        def in_triton(*tensors: Tensor) -> Tensor:
            return mamba_ssm.permuted_scan(selective_scan, *tensors)

        yield "mamba_ssm's algorithm in Triton (mamba_ssm is not installed)", in_triton
    yield "eager PyTorch in chunks (mamba_ssm is not installed)", published_flow.scan


@contextmanager
def scanning_by(scan: Scan) -> Iterator[None]:
    """Have every network scan by a yardstick meanwhile."""

    def replaced(*tensors: Tensor, backend: str = "auto") -> Tensor:
        return scan(*tensors)

    with patch.object(blocks, "hybrid_scan", replaced):
        yield
