"""The engine that computes with OpenVINO on a CPU: the encoder as one graph, the rest as another.

The encoder always computes in float32: rounded to bfloat16, its features change as much as a small
defect does. `precision` is that of fusion and decoder; the scan's state stays float32.
"""

import json
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from model.engines.openvino.graphs import Graph, has_precision
from model.errors import BackendUnavailable, OutOfMemory
from model.images.preprocess import Preprocessing
from model.inference.engine import Lap
from model.network import Encoder, MambaAD
from model.network.normalise import normalise
from model.scoring.cosine_map import anomaly_map
from model.scoring.patches import with_patches
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring

FLOAT32, BFLOAT16 = "float32", "bfloat16"
_NO_MEMORY = ("bad_alloc", "allocate memory", "out of memory")


class OpenvinoEngine:
    """A network computed by OpenVINO with `threads` threads, one image after the other.

    Takes over `network`, and needs it only until it is built. Raises `BackendUnavailable` for a
    precision that this processor does not have.
    """

    def __init__(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        threads: int = 1,
        precision: str = FLOAT32,
    ) -> None:
        if not has_precision(precision):
            raise BackendUnavailable(_lacking(precision))
        self.device, self.library, self.precision = "cpu", "openvino", precision
        network = network.cpu().eval().use_backend("cpu")
        tensors = chain(network.parameters(), network.buffers())
        self.nbytes = sum(tensor.nbytes for tensor in tensors)  # each engine has its encoder
        pixels = [network.config.encoder, preprocessing.to_dict()]
        everything = [network.config.to_dict(), preprocessing.to_dict(), scoring.to_dict()]
        encoder = _Encoder(network.encoder, preprocessing)
        image = torch.zeros(1, 3, *preprocessing.image_size, dtype=torch.uint8)
        with torch.inference_mode():
            features = [feature.contiguous() for feature in encoder(image)]
        self._encoder = Graph(encoder, [image], json.dumps(pixels), FLOAT32, threads)
        rest = _Rest(network, preprocessing, scoring)
        try:
            self._rest = Graph(rest, features, json.dumps(everything), precision, threads)
        except RuntimeError as error:
            if precision == FLOAT32:
                raise
            raise BackendUnavailable(_lacking(precision)) from error

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Implement `Engine.compare`; the laps are encoder and decoder.

        Several images have a single lap, network.
        """
        try:
            rows = [self._compare(images[i : i + 1], lap if len(images) == 1 else _no_lap)
                for i in range(len(images))]  # fmt: skip
        except RuntimeError as error:
            if any(words in str(error) for words in _NO_MEMORY):
                raise OutOfMemory("OpenVINO found no memory for an image on the CPU") from error
            raise
        if len(images) > 1:
            lap("network")
        return np.concatenate(rows)

    def answers(self) -> bool:
        """Return True: a CPU always works."""
        return True

    def release(self) -> None:
        """Do nothing: OpenVINO keeps its memory as long as the graphs."""

    def _compare(
        self, image: UInt8[np.ndarray, "1 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "1 *what"]:
        features = self._encoder(np.ascontiguousarray(image))
        lap("encoder")
        compared: np.ndarray = self._rest(*features)[0].copy()
        lap("decoder")
        return compared


class _Encoder(nn.Module):
    """From pixels to the encoder's features."""

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder, self._preprocessing = encoder, preprocessing

    def forward(self, pixels: UInt8[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(normalise(pixels, self._preprocessing)))


class _Rest(nn.Module):
    """From the encoder's features to the input of the scoring."""

    def __init__(self, network: MambaAD, preprocessing: Preprocessing, scoring: Scoring) -> None:
        super().__init__()
        self.fusion, self.decoder = network.fusion, network.decoder
        self._size, self._scoring = preprocessing.image_size, scoring

    def forward(self, *teacher: Tensor) -> Tensor:
        scoring = self._scoring
        unused, weights = scoring.unused_scales, scoring.scale_weights
        student = self.decoder(self.fusion(list(teacher)), unused)
        used = list(teacher[unused:])
        compared = (
            residuals(used, student, weights[unused:])
            if scoring.measures_differences
            else anomaly_map(used, student, self._size, scoring.sigma, weights[unused:])
        )
        return with_patches(compared, teacher) if scoring.memory else compared


def _lacking(precision: str) -> str:
    return f"OpenVINO cannot compute in {precision} on this processor; use float32"


def _no_lap(stage: str) -> None:
    """Ignore the stages of single images of a batch."""
