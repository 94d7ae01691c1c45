"""The engine that computes with torch: normalise, encoder, decoder, anomaly map."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from model.engines.torch import lanes
from model.engines.torch.device import device_answers, own_errors, release_cached
from model.engines.torch.folding import fold_batch_norms
from model.engines.torch.packing import prepare_for_cpu
from model.engines.torch.recording import NotRecordable, Recording
from model.images.preprocess import Preprocessing
from model.inference.engine import Lap
from model.network import MambaAD
from model.network.normalise import normalise
from model.scoring.cosine_map import anomaly_map
from model.scoring.patches import patch_features, with_patches
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring

T = TypeVar("T")

_SLOW_S = 0.2
"""Passes longer than this are not recorded: the Python between operators hardly matters there. In
processor time, so that other load on the machine does not prevent recording."""
_TOLERANCE = 1e-5
"""Largest relative norm of the difference between a recording and the network."""

logger = logging.getLogger(__name__)


class TorchEngine:
    """A network on one of torch's devices, batch norms folded; on a CPU also packed and recorded.

    Takes over `network`: moves it to `device`, switches it to evaluation and to the scan `backend`.
    """

    def __init__(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        device: str | torch.device = "cpu",
        backend: str = "auto",
    ) -> None:
        self.library, self.precision = "torch", "float32"
        self._device = torch.device(device)
        with own_errors():
            self.network = network.to(self._device).eval().use_backend(backend)
            on_cpu = self._device.type == "cpu"
            self._prepared = prepare_for_cpu(network) if on_cpu else fold_batch_norms(network)
        self.preprocessing = preprocessing
        self.scoring = scoring
        self._recordings: dict[int, Recording] = {}

    @property
    def device(self) -> str:
        """The device: "cpu" or "cuda:N"."""
        return str(self._device)

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without the shared encoder."""
        return sum(
            tensor.nbytes
            for name, tensor in chain(self.network.named_parameters(), self.network.named_buffers())
            if not name.startswith("encoder.")
        )

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that record the operators for parts of a batch of up to `most` images.

        Recorded sizes are faster; see `model.engines.torch.recording`. No steps on a GPU. Batches
        may be computed between the steps.
        """
        if self._device.type != "cpu":
            return ()
        return [partial(self._record, count) for count in range(1, min(most, lanes.MOST) + 1)]

    def divide(self, count: int) -> Sequence[slice]:
        """Return the fastest division of a batch; see `model.engines.torch.lanes`."""
        return lanes.divide(count) if self._device.type == "cpu" else [slice(0, count)]

    def side_by_side(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls that each compute a part; see `model.engines.torch.lanes`."""
        return lanes.side_by_side(calls)

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Implement `Engine.compare`; the laps are encoder, decoder and anomaly_map.

        A divided batch has a single lap, network.
        """
        parts = self.divide(len(images))
        if len(parts) == 1:
            return self._compare(images, lap)
        calls = [partial(self._compare, images[part], _no_lap) for part in parts]
        compared = np.concatenate(self.side_by_side(calls))
        lap("network")
        return compared

    def patches(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B F"]:
        """Implement `Remembering.patches`."""
        calls = [partial(self._patches, images[part]) for part in self.divide(len(images))]
        return np.concatenate(self.side_by_side(calls))

    @own_errors()
    @torch.inference_mode()
    def _patches(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B F"]:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device)
        teacher = self._prepared.encoder(normalise(pixels, self.preprocessing))
        patches: np.ndarray = patch_features(teacher).flatten(1).cpu().numpy()
        return patches

    @own_errors()
    @torch.inference_mode()
    def _compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device)
        compute = self._recordings.get(len(images), self._computed)
        maps: np.ndarray = compute(pixels, partial(self._end, lap)).cpu().numpy()
        lap("anomaly_map")
        return maps

    def _computed(self, pixels: UInt8[Tensor, "B 3 H W"], lap: Lap) -> Float[Tensor, "B *what"]:
        teacher = self._prepared.encoder(normalise(pixels, self.preprocessing))
        lap("encoder")
        unused, weights = self.scoring.unused_scales, self.scoring.scale_weights
        student = self._prepared.reconstruct(teacher, unused)
        lap("decoder")
        compared = self._compared(teacher[unused:], student, weights[unused:])
        return with_patches(compared, teacher) if self.scoring.memory else compared

    def _compared(
        self, teacher: list[Tensor], student: list[Tensor], weights: Sequence[float]
    ) -> Tensor:
        if self.scoring.measures_differences:
            return residuals(teacher, student, weights)
        size, sigma = self.preprocessing.image_size, self.scoring.sigma
        return anomaly_map(teacher, student, size, sigma, weights)

    def answers(self) -> bool:
        """Return whether a GPU still works, by a small operation."""
        return device_answers(self._device)

    def release(self) -> None:
        """Empty torch's cache of GPU memory."""
        release_cached(self._device)

    @own_errors()
    @torch.inference_mode()
    def _record(self, count: int) -> None:
        """Record a batch of `count` images, unless that is no faster or gives other results."""
        if self._recordings.keys() != set(range(1, count)):
            return  # recording a smaller batch failed
        random = np.random.default_rng(count)  # a worker has imported torch without its generators
        shape = (count, 3, *self.preprocessing.image_size)
        images, others = (
            torch.from_numpy(random.integers(256, size=shape, dtype=np.uint8)) for _ in range(2)
        )
        try:
            recording = Recording(self._computed, images)
        except (NotRecordable, NotImplementedError) as error:
            logger.info("network not recorded: %s", str(error))
            return
        started = time.thread_time()
        expected = self._computed(others, _no_lap)
        if time.thread_time() - started > _SLOW_S:
            return
        difference = (recording(others, _no_lap) - expected).norm() / expected.norm()
        if difference <= _TOLERANCE:
            self._recordings[count] = recording
        else:
            logger.warning("network not recorded: the results would differ by %.1e", difference)

    def _end(self, lap: Lap, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        lap(stage)


def _no_lap(stage: str) -> None:
    """Ignore the stages of parts that are computed side by side."""
