"""The published data flow, with mamba_ssm or its stand-ins.

Makes eight permuted float32 copies, and runs mamba_ssm's kernel over them. Without mamba_ssm, its
algorithm in Triton and eager PyTorch in chunks replace it; how their speed compares with
mamba_ssm's is unknown, and the faster one counts.
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
    """Return the available implementations by name: mamba_ssm, or its stand-ins."""
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
    """Use a yardstick for the scans of all networks during the block."""

    def replaced(*tensors: Tensor, backend: str = "auto") -> Tensor:
        return scan(*tensors)

    with patch.object(blocks, "hybrid_scan", replaced):
        yield
