"""What arithmetic the network runs in on CUDA, chosen by measurement when it is loaded."""

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

    "float32" is IEEE single precision throughout; "tf32" rounds what enters matrix products to 10
    bits of mantissa. In the 16-bit precisions the residual stream, the scan's states, every norm's
    statistics and the anomaly map stay float32. `fused` takes the kernels of
    `model.engines.cuda.kernels` for norms, depth-wise convolutions and cosines, and else torch's
    own.
    """

    encoder: str
    decoder: str
    fused: bool

    def __str__(self) -> str:
        kernels = "fused" if self.fused else "torch's"
        return f"encoder {self.encoder}, decoder {self.decoder}, {kernels} kernels"

    @property
    def encoder_dtype(self) -> torch.dtype:
        """What the encoder's weights and activations are stored in."""
        return _DTYPES[self.encoder]

    @property
    def decoder_dtype(self) -> torch.dtype:
        """What the decoder's weights and matrix products are stored in."""
        return _DTYPES[self.decoder]

    @property
    def may_overflow(self) -> bool:
        """Whether values that float32 holds may be infinite in it."""
        return "float16" in (self.encoder, self.decoder)

    @property
    def is_reference(self) -> bool:
        """Whether it is the plan that others are measured against."""
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
"""What is tried beside the reference, for a precision of "auto"."""


def candidates(precision: str, *, fused: bool) -> tuple[Plan, ...]:
    """Return what a wished precision, "auto" or one of `PRECISIONS`, leaves to try.

    Without `fused`, only plans of torch's own kernels.
    """
    tried = [p for p in CANDIDATES if precision == "auto" or p.encoder == p.decoder == precision]
    if precision not in ("auto", "float32"):
        tried.append(Plan(precision, precision, fused=False))
    return tuple(dict.fromkeys(p for p in tried if fused or not p.fused))


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Hold torch's float32 matrix products and convolutions on CUDA to "ieee" or "tf32"."""
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
    """What a plan was found to do: seconds a batch, and the share of the tolerated difference.

    A share above 1, or NaN, is too much.
    """

    plan: Plan
    seconds: float
    share: float

    @property
    def agrees(self) -> bool:
        """Whether its scores are the reference's, as far as is asked."""
        return self.share <= 1


def attempt(plan: Plan, seconds: Callable[[], float], share: Callable[[], float]) -> Trial | None:
    """Try one plan; None where the device cannot run it, which is logged with its reason.

    A plan that disagrees is not timed. One that needs more memory than there is cannot run, either.
    """
    try:
        found = share()
        return Trial(plan, seconds() if found <= 1 else math.inf, found)
    except (RuntimeError, NotImplementedError) as error:
        logger.warning("%s cannot run here: %s", plan, error)
        return None


def fastest(trials: Sequence[Trial]) -> Trial | None:
    """Return the fastest trial of those that agree; None where none does."""
    agreeing = [trial for trial in trials if trial.agrees]
    return min(agreeing, key=lambda trial: trial.seconds, default=None)
