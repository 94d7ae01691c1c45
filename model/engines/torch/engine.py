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
from model.scoring.residuals import residuals
from model.scoring.scores import Scoring

T = TypeVar("T")

_SLOW_S = 0.2
"""Of a pass that takes a thread this long, the Python between the operators is no part that counts.
Processor time: a machine that is busy with something else must not keep networks unrecorded."""
_TOLERANCE = 1e-5
"""Relative norm by which a recording may depart from what it records."""

logger = logging.getLogger(__name__)


class TorchEngine:
    """A network on a device of torch's, with its batch norms folded, and more of it on a CPU.

    `network` is taken over: moved to `device`, switched to evaluation and to the scan `backend`.
    """

    def __init__(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        device: str | torch.device = "cpu",
        backend: str = "auto",
    ) -> None:
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
        """Where it computes: "cpu" or "cuda:N"."""
        return str(self._device)

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without the encoder that it may share."""
        return sum(
            tensor.nbytes
            for name, tensor in chain(self.network.named_parameters(), self.network.named_buffers())
            if not name.startswith("encoder.")
        )

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that record what parts of a batch of up to `most` images call on a CPU.

        They go the faster way then; see `model.engines.torch.recording`. Batches may be computed
        meanwhile.
        """
        if self._device.type != "cpu":
            return ()
        return [partial(self._record, count) for count in range(1, min(most, lanes.MOST) + 1)]

    def divide(self, count: int) -> Sequence[slice]:
        """Return the parts that a batch is best computed in; see `model.engines.torch.lanes`."""
        return lanes.divide(count) if self._device.type == "cpu" else [slice(0, count)]

    def side_by_side(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make calls that each compute a part; see `model.engines.torch.lanes`."""
        return lanes.side_by_side(calls)

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Return how far each image is rebuilt; the laps are encoder, decoder and anomaly_map.

        Of a batch that is divided there is one lap, network.
        """
        parts = self.divide(len(images))
        if len(parts) == 1:
            return self._compare(images, lap)
        calls = [partial(self._compare, images[part], _no_lap) for part in parts]
        found = np.concatenate(self.side_by_side(calls))
        lap("network")
        return found

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
        return self._compared(teacher[unused:], student, weights[unused:])

    def _compared(
        self, teacher: list[Tensor], student: list[Tensor], weights: Sequence[float]
    ) -> Tensor:
        if self.scoring.measures_differences:
            return residuals(teacher, student, weights)
        size, sigma = self.preprocessing.image_size, self.scoring.sigma
        return anomaly_map(teacher, student, size, sigma, weights)

    def answers(self) -> bool:
        """Ask a GPU for something small: after some errors it never answers again."""
        return device_answers(self._device)

    def release(self) -> None:
        """Empty the caches of a GPU's memory."""
        release_cached(self._device)

    @own_errors()
    @torch.inference_mode()
    def _record(self, count: int) -> None:
        """Record a batch of so many images, unless that brings nothing or answers differently."""
        if self._recordings.keys() != set(range(1, count)):
            return  # a smaller one has been given up
        random = torch.Generator().manual_seed(count)
        shape = (count, 3, *self.preprocessing.image_size)
        images, others = (
            torch.randint(256, shape, dtype=torch.uint8, generator=random) for _ in range(2)
        )
        try:
            recording = Recording(self._computed, images)
        except (NotRecordable, NotImplementedError) as error:
            logger.info("the network runs unrecorded: %s", str(error))
            return
        started = time.thread_time()
        expected = self._computed(others, _no_lap)
        if time.thread_time() - started > _SLOW_S:
            return
        difference = (recording(others, _no_lap) - expected).norm() / expected.norm()
        if difference <= _TOLERANCE:
            self._recordings[count] = recording
        else:
            logger.warning("the network runs unrecorded: it would differ by %.1e", difference)

    def _end(self, lap: Lap, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        lap(stage)


def _no_lap(stage: str) -> None:
    """Parts that are computed side by side have no stages in common."""
