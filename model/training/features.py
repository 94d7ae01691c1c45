"""The frozen encoder's features of training images: computed once, or standardised."""

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model.engines.torch.lanes import side_by_side
from model.images.preprocess import Preprocessing
from model.network import Encoder
from model.network.normalise import normalise

ROOM_BYTES = 512 * 2**20
"""Memory for features that are kept: about 800 inputs of 256 x 256 pixels."""
_LEAST_SHARE = 0.01
"""Lower limit of a channel's deviation, as a share of the mean deviation."""


class Teacher:
    """Computes the encoder's features of inputs; on a CPU, it keeps those of inputs that recur.

    There, each input has a pass of its own, so that the features do not depend on what is kept: a
    run that goes on after a stop begins with nothing. Inputs are recognised by a digest of their
    pixels. Once `room_bytes` are used, further inputs are computed each time. The encoder must not
    change after the first call.
    """

    def __init__(
        self,
        encoder: Encoder,
        preprocessing: Preprocessing,
        device: torch.device,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        self._encoder = encoder
        self._preprocessing = preprocessing
        self._device = device
        self._room_bytes = self._left_bytes = room_bytes
        self._kept: dict[bytes, list[Tensor]] = {}

    def room(self, shapes: Sequence[tuple[int, int, int]]) -> int:
        """Return for how many inputs with features of these shapes there is room."""
        input_bytes = 4 * sum(math.prod(shape) for shape in shapes)
        return self._room_bytes // input_bytes if self._device.type == "cpu" else 0

    def normalised(self, batch: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return the encoder's input, on its device."""
        return normalise(batch.to(self._device), self._preprocessing)

    def __call__(
        self, batch: UInt8[Tensor, "B 3 H W"], *, comes_again: bool = True
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the features of each scale; `comes_again` tells whether inputs recur."""
        if self._device.type != "cpu" or not comes_again:
            return self._encoder.in_parts(self.normalised(batch))
        keys = [hashlib.blake2b(pixels.numpy(), digest_size=16).digest() for pixels in batch]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: pixels for key, pixels in zip(keys, batch, strict=True) if key not in found}
        calls = [lambda pixels=pixels: self._computed(pixels) for pixels in missing.values()]
        for key, scales in zip(missing, side_by_side(calls), strict=True):
            found[key] = scales
            self._keep(key, scales)
        return [torch.cat(scale) for scale in zip(*(found[key] for key in keys), strict=True)]

    def _computed(self, pixels: UInt8[Tensor, "3 H W"]) -> list[Float[Tensor, "1 _ _ _"]]:
        features: list[Tensor] = self._encoder(self.normalised(pixels[None]))
        return features

    def _keep(self, key: bytes, scales: list[Tensor]) -> None:
        size = sum(scale.nbytes for scale in scales)
        if size <= self._left_bytes:
            self._left_bytes -= size
            self._kept[key] = scales


@torch.no_grad()
def standardise(encoder: Encoder, batches: Iterable[Float[Tensor, "B 3 H W"]]) -> None:
    """Scale the encoder's channels to mean 0 and deviation 1 over these images."""
    sums = [torch.zeros(2, c, dtype=torch.float64) for c in encoder.channels]
    counts = [0] * len(sums)
    for images in batches:
        for number, feature in enumerate(encoder.in_parts(images)):
            values = feature.double().transpose(0, 1).flatten(1).cpu()  # (C, B h w)
            sums[number] += torch.stack([values.sum(1), values.square().sum(1)])
            counts[number] += values.shape[1]
    means, deviations = [], []
    for (total, squares), count in zip(sums, counts, strict=True):
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        means.append(mean.float())
        deviations.append(deviation.clamp_min(_LEAST_SHARE * float(deviation.mean())).float())
    encoder.standardise(means, deviations)
