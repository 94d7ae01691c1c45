"""The arithmetic of the network on CUDA, chosen by measurement at loading."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

logger = logging.getLogger(__name__)

_DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
PRECISIONS = tuple(_DTYPES)


@dataclass(frozen=True, slots=True)
class Plan:
    """The precisions of encoder and decoder (see `PRECISIONS`), and whether kernels are fused.

    "float32" is IEEE single precision throughout; "tf32" rounds the inputs of matrix products to 10
    bits of mantissa. In the 16-bit precisions the residual stream, the scan's states, every norm's
    statistics and the anomaly map stay float32. `fused` uses `model.engines.cuda.kernels` for
    norms, depth-wise convolutions and cosines, instead of torch's.
    """

    encoder: str
    decoder: str
    fused: bool

    def __str__(self) -> str:
        kernels = "fused" if self.fused else "torch's"
        return f"encoder {self.encoder}, decoder {self.decoder}, {kernels} kernels"

    @property
    def encoder_dtype(self) -> torch.dtype:
        """The dtype of the encoder's weights and activations."""
        return _DTYPES[self.encoder]

    @property
    def decoder_dtype(self) -> torch.dtype:
        """The dtype of the decoder's weights and matrix products."""
        return _DTYPES[self.decoder]

    @property
    def may_overflow(self) -> bool:
        """Whether values can overflow that float32 can hold."""
        return "float16" in (self.encoder, self.decoder)

    @property
    def is_reference(self) -> bool:
        """Whether it is the plan that others must agree with."""
        return self == REFERENCE


REFERENCE = Plan("float32", "float32", fused=False)

CANDIDATES = (
    Plan("float32", "float32", fused=True),
    Plan("tf32", "tf32", fused=False),
    Plan("tf32", "tf32", fused=True),
    Plan("float16", "tf32", fused=True),
    Plan("bfloat16", "tf32", fused=True),
    Plan("float16", "float16", fused=False),
    Plan("float16", "float16", fused=True),
    Plan("bfloat16", "bfloat16", fused=True),
)
"""The plans to try besides the reference, for precision "auto"."""


def candidates(precision: str, *, fused: bool) -> tuple[Plan, ...]:
    """Return the plans to try for a precision, "auto" or one of `PRECISIONS`.

    Without `fused`, only plans with torch's kernels.
    """
    tried = [p for p in CANDIDATES if precision == "auto" or p.encoder == p.decoder == precision]
    if precision not in ("auto", "float32"):
        tried.append(Plan(precision, precision, fused=False))
    return tuple(dict.fromkeys(p for p in tried if fused or not p.fused))


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Set the precision of torch's float32 matrix products and convolutions on CUDA."""
    cudnn: Any = torch.backends.cudnn
    backends = (torch.backends.cuda.matmul, cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    wanted = "tf32" if precision == "tf32" else "ieee"
    for backend in backends:
        backend.fp32_precision = wanted
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


@dataclass(frozen=True, slots=True)
class Trial:
    """A plan's measured seconds a batch, and its share of the tolerated difference.

    A share above 1, or NaN, means that it disagrees.
    """

    plan: Plan
    seconds: float
    share: float

    @property
    def agrees(self) -> bool:
        """Whether its scores equal the reference's within the tolerance."""
        return self.share <= 1


def attempt(plan: Plan, seconds: Callable[[], float], share: Callable[[], float]) -> Trial | None:
    """Try one plan. Logs the reason and returns None if it cannot run, also for lack of memory.

    A plan that disagrees is not timed.
    """
    try:
        measured_share = share()
        return Trial(plan, seconds() if measured_share <= 1 else math.inf, measured_share)
    except (RuntimeError, NotImplementedError) as error:
        logger.warning("%s cannot run on this device: %s", plan, error)
        return None


def fastest(trials: Sequence[Trial]) -> Trial | None:
    """Return the fastest trial that agrees, or None."""
    agreeing = [trial for trial in trials if trial.agrees]
    return min(agreeing, key=lambda trial: trial.seconds, default=None)
