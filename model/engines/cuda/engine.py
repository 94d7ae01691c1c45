"""The engine for CUDA devices: the fastest plan that agrees with float32, replayed as graphs.

It computes eagerly until it is prepared. Preparation measures plans, and captures all kernels for a
few batch sizes (buckets); they are then replayed, for smaller batches too.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from model.checkpoints.golden import Golden
from model.engines.cuda.agreement import Agreement
from model.engines.cuda.buckets import Bucket, bucket_for, bucket_sizes
from model.engines.cuda.choice import Choice
from model.engines.cuda.device import CudaDevice, Device
from model.engines.cuda.network import EncoderCopies, InferenceNetwork
from model.engines.cuda.operations import has_triton
from model.engines.cuda.plan import REFERENCE, Plan, Trial, candidates
from model.engines.torch.device import device_answers, own_errors, release_cached
from model.engines.torch.folding import fold_batch_norms
from model.images.preprocess import Preprocessing
from model.inference.engine import Lap
from model.network import MambaAD
from model.scoring.baselines import AnyBaseline
from model.scoring.scores import Scoring

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class CudaShare:
    """The device, encoders and options that all engines on one device share.

    `precision` is "auto", for the fastest one that agrees with float32, or one of
    `model.engines.cuda.plan.PRECISIONS`. Without `graphs`, kernels are launched one by one.
    """

    device: Device
    precision: str = "auto"
    graphs: bool = True
    fused: bool = field(default_factory=has_triton)
    encoders: EncoderCopies = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoders", EncoderCopies(self.device.torch_device))

    @classmethod
    def on(cls, device: str, precision: str = "auto", *, graphs: bool = True) -> "CudaShare":
        """Share a CUDA device; no graphs without Triton, since the scan would be too long."""
        if graphs and not has_triton():
            logger.warning("Triton is not installed: slow kernels and no CUDA graphs")
        return cls(CudaDevice(device), precision, graphs and has_triton())

    def engine(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        backend: str = "auto",
        golden: Golden | None = None,
        baselines: Mapping[str, AnyBaseline] | None = None,
    ) -> "CudaEngine":
        """Return an engine for a checkpoint's parts; plans must agree on its golden images."""
        agreement = Agreement.of(scoring, preprocessing.image_size, golden, baselines)
        return CudaEngine(network, preprocessing, scoring, self, backend, agreement)


class CudaEngine:
    """A network on a CUDA device; belongs to one thread at a time.

    `network` stays on the CPU as the source of the weights; the engine computes with copies.
    `agreement` limits a plan's difference from float32.
    """

    def __init__(
        self,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        share: CudaShare,
        backend: str = "auto",
        agreement: Agreement | None = None,
    ) -> None:
        self.library = "torch"
        self.plan = REFERENCE
        self.trials: Sequence[Trial] = ()
        self._share, self._device = share, share.device
        self._source = network.cpu().eval()  # keeps its encoder shared
        self._folded = fold_batch_norms(self._source)
        self._preprocessing, self._scoring, self._backend = preprocessing, scoring, backend
        self._agreement = agreement or Agreement.of(scoring, preprocessing.image_size)
        self._network: InferenceNetwork | None = None
        self._buckets: dict[int, Bucket] = {}
        self._pixels = self._host_pixels = self._host_answer = torch.empty(0)

    @property
    def device(self) -> str:
        """The device, such as "cuda:0"."""
        return str(self._device.torch_device)

    @property
    def precision(self) -> str:
        """The decoder's precision in the chosen plan."""
        return self.plan.decoder

    @property
    def nbytes(self) -> int:
        """The device memory of weights and input buffer, without the encoder."""
        network = 0 if self._network is None else self._network.nbytes
        return network + self._pixels.nbytes

    @property
    def captured(self) -> tuple[int, ...]:
        """The batch sizes with a graph."""
        return tuple(sorted(self._buckets))

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that make batches of up to `most` images fast; run them on its thread.

        Batches may be computed between them. Sizes that cannot be captured run eagerly; the log
        says why.
        """
        share = self._share
        plans = candidates(share.precision, fused=share.fused)
        choice = Choice(
            self._built, self._agreement, self._device, plans, most, graphs=share.graphs
        )
        captures = [self._capturing(size, most) for size in bucket_sizes(most)[::-1]]
        settle = [*choice.steps(), lambda: self._settle(choice)]
        return [self._on_device(step) for step in settle + (captures if share.graphs else [])]

    @own_errors()
    @torch.inference_mode()
    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Implement `Engine.compare`; the laps are encoder, decoder and anomaly_map.

        Images that overflow in 16 bits are computed again in float32.
        """
        with self._device.running():
            bucket = bucket_for(len(images), self._buckets)
            compared = (
                self._eager(images, lap) if bucket is None else self._replay(bucket, images, lap)
            )
            broken = ~np.isfinite(compared.reshape(len(compared), -1)).all(axis=1)
            if broken.any() and self.plan.may_overflow:
                logger.warning("%d images overflow in %s", broken.sum(), self.plan)
                pixels = torch.from_numpy(images[broken]).to(self._device.torch_device)
                compared[broken] = self._built(REFERENCE).answer(pixels).cpu().numpy()
        return compared

    def answers(self) -> bool:
        """Return whether the device still works, by a small operation."""
        return device_answers(self._device.torch_device)

    def release(self) -> None:
        """Empty torch's cache of device memory; graphs keep theirs."""
        release_cached(self._device.torch_device)

    def _eager(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        if self._network is None:
            self._network = self._built(self.plan)
        network = self._network
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        teacher = network.encode(pixels.to(self._device.torch_device))
        self._end("encoder", lap)
        student = network.reconstruct(teacher)
        self._end("decoder", lap)
        answer: np.ndarray = network.compare(teacher, student).cpu().numpy()
        self._end("anomaly_map", lap)
        return answer

    def _end(self, stage: str, lap: Lap) -> None:
        self._device.mark().synchronize()
        lap(stage)

    def _replay(
        self, bucket: Bucket, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Copy in, replay, copy out; results for the unused rest of the bucket are ignored."""
        count = len(images)
        pixels, answer = self._host_pixels[:count], self._host_answer[:count]
        pixels.numpy()[:] = images
        bucket.pixels[:count].copy_(pixels, non_blocking=True)
        marks = bucket.replay(self._device)
        answer.copy_(bucket.answer[:count], non_blocking=True)
        marks["anomaly_map"] = self._device.mark()
        for stage, mark in marks.items():
            mark.synchronize()
            lap(stage)
        copied: np.ndarray = answer.numpy().copy()
        return copied

    def _built(self, plan: Plan) -> InferenceNetwork:
        return InferenceNetwork(
            self._folded, self._preprocessing, self._scoring, plan, self._share.encoders,
            self._device.torch_device, self._backend,
        )  # fmt: skip

    def _settle(self, choice: Choice) -> None:
        plan, self.trials = choice.best, choice.trials
        if plan != self.plan or self._network is None:
            self._buckets.clear()
            self.plan, self._network = plan, self._built(plan)

    def _capturing(self, size: int, most: int) -> Callable[[], None]:
        def capture() -> None:
            network = self._network
            assert network is not None  # set by _settle, an earlier step
            self._reserve(network, most)
            try:
                self._buckets[size] = Bucket.captured(network, self._device, self._pixels[:size])
            except RuntimeError as error:
                self._device.check()
                logger.warning("no graph for batches of %d: %s", size, error)

        return capture

    def _reserve(self, network: InferenceNetwork, most: int) -> None:
        """Allocate buffers for the largest batch; graphs keep reading from the same ones."""
        if len(self._pixels) < most:
            shape = (most, 3, *self._preprocessing.image_size)
            self._pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device.torch_device)
            self._host_pixels = self._device.pinned(shape, torch.uint8)
            _, *shape_of_answer = network.answer(self._pixels[:1]).shape
            self._host_answer = self._device.pinned((most, *shape_of_answer), torch.float32)

    def _on_device(self, step: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with own_errors(), torch.inference_mode(), self._device.running():
                step()

        return run
