"""A network for inference by one plan: pixels to features to anomaly maps, on the device."""

import copy
from collections.abc import Sequence
from itertools import chain
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from model.engines.cuda import plain
from model.engines.cuda.decoder import InferenceDecoder, Placement
from model.engines.cuda.operations import Operations, has_triton
from model.engines.cuda.plan import Plan, matrix_precision
from model.engines.cuda.smoothing import Smoothing
from model.images.preprocess import Preprocessing
from model.network import Encoder, MambaAD
from model.scoring.patches import with_patches
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring

_Module = TypeVar("_Module", bound=nn.Module)
_Copies = WeakValueDictionary[torch.dtype, Encoder]


def operations(*, fused: bool) -> Operations:
    """Return the fused kernels, which need Triton, or torch's operations."""
    if not fused:
        return plain
    from model.engines.cuda import fused as kernels  # noqa: PLC0415 - Triton is optional

    return kernels


class EncoderCopies:
    """Copies of frozen encoders on one device, one for each precision in use.

    Networks that share an encoder share its copies. A copy lives while any of them uses it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: WeakKeyDictionary[Encoder, _Copies] = WeakKeyDictionary()

    def get(self, encoder: Encoder, dtype: torch.dtype) -> Encoder:
        """Return the copy of an encoder in one precision."""
        copies = self._copies.setdefault(encoder, WeakValueDictionary())
        prepared = copies.get(dtype)
        if prepared is None:
            prepared = _prepared(encoder, self._device, dtype)
            copies[dtype] = prepared
        return prepared


class InferenceNetwork:
    """A network by one plan, in three stages.

    `network` is not changed; its batch norms must be folded.
    """

    def __init__(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        plan: Plan,
        encoders: EncoderCopies,
        device: torch.device,
        backend: str = "auto",
    ) -> None:
        self.plan = plan
        self._unused = scoring.unused_scales
        self._encoder = encoders.get(network.encoder, plan.encoder_dtype)
        self._fusion = _prepared(network.fusion, device, plan.decoder_dtype)
        self._operations = operations(fused=plan.fused)
        scans_low = device.type == "cuda" and has_triton() and backend in ("auto", "cuda")
        scan_dtype = plan.decoder_dtype if scans_low else torch.float32
        placement = Placement(device, plan.decoder_dtype, scan_dtype, self._operations, backend)
        sizes = network.config.stage_sizes
        self._decoder = InferenceDecoder(network.decoder, sizes, placement)
        scales = sizes[::-1][self._unused : len(sizes) - 1]
        self._weights = weights = scoring.scale_weights[self._unused :]
        self._takes_residuals = scoring.measures_differences
        self._takes_patches = scoring.memory > 0
        size = preprocessing.image_size
        self._smoothing = Smoothing(scales, size, scoring.sigma, weights, device)
        mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self._scale, self._shift = 1 / (255 * std), -mean / std
        self._placed_bytes = placement.nbytes

    @property
    def nbytes(self) -> int:
        """The memory of its weights, without the shared encoder."""
        return self._placed_bytes + _nbytes(self._fusion)

    def encode(self, pixels: UInt8[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the encoder's features, fine to coarse."""
        with matrix_precision(self.plan.encoder):
            values = pixels.to(torch.float32, memory_format=torch.channels_last)
            normal = torch.addcmul(self._shift, values, self._scale)
            maps: list[Tensor] = self._encoder(normal.to(self.plan.encoder_dtype))
        return [features.contiguous(memory_format=torch.channels_last) for features in maps]

    def reconstruct(
        self, teacher: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Reconstruct the encoder's features, channels last, without unused scales."""
        with matrix_precision(self.plan.decoder):
            fused = self._fusion([features.to(self.plan.decoder_dtype) for features in teacher])
            fused = fused.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
            return self._decoder(fused, self._unused)

    def compare(
        self,
        teacher: Sequence[Float[Tensor, "B _ _ _"]],
        student: Sequence[Float[Tensor, "B _ _ _"]],
    ) -> Float[Tensor, "B *what"]:
        """Return the raw anomaly maps or the differences: see `model.inference.engine`."""
        compared = self._compared(teacher, student)
        return with_patches(compared, teacher) if self._takes_patches else compared

    def answer(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B *what"]:
        """Run all three stages."""
        teacher = self.encode(pixels)
        return self.compare(teacher, self.reconstruct(teacher))

    def _compared(
        self,
        teacher: Sequence[Float[Tensor, "B _ _ _"]],
        student: Sequence[Float[Tensor, "B _ _ _"]],
    ) -> Float[Tensor, "B *what"]:
        if self._takes_residuals:
            rebuilt = [features.permute(0, 3, 1, 2) for features in student]
            return residuals(teacher[self._unused :], rebuilt, self._weights)
        with matrix_precision("float32"):
            pairs = zip(teacher[self._unused :], student, strict=True)
            return self._smoothing(
                [self._operations.distance(t.permute(0, 2, 3, 1), s) for t, s in pairs]
            )


def _prepared(module: _Module, device: torch.device, dtype: torch.dtype) -> _Module:
    prepared = copy.deepcopy(module).eval().requires_grad_(False)
    moved: _Module = prepared.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
