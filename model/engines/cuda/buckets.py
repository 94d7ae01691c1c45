"""Batch sizes captured as graphs, and the graphs of one size."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.engines.cuda.device import Captured, Device, Mark
from model.engines.cuda.network import InferenceNetwork

_WARM_UP = 2
"""Passes before a capture, in which libraries pick algorithms and kernels are compiled."""


def bucket_sizes(most: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, ... and `most`, to pad batches by at most a half."""
    powers = [2**i for i in range(most.bit_length())]
    sizes = {n for power in powers for n in (power, power + power // 2)}
    return sorted({n for n in sizes if n < most} | {most})


def bucket_for(count: int, buckets: Mapping[int, "Bucket"]) -> "Bucket | None":
    """Return the smallest bucket for `count` images, or None."""
    size = min((size for size in buckets if size >= count), default=None)
    return None if size is None else buckets[size]


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """The three captured stages of one batch size, with fixed tensors `pixels` and `answer`."""

    pixels: Tensor
    stages: Mapping[str, Captured]

    @classmethod
    def captured(cls, network: InferenceNetwork, device: Device, pixels: Tensor) -> "Bucket":
        """Warm up, then capture. Raises `RuntimeError`, also if memory runs out."""
        for _ in range(_WARM_UP):
            network.answer(pixels)
        device.mark().synchronize()
        encoder = device.capture(lambda: network.encode(pixels))
        decoder = device.capture(lambda: network.reconstruct(encoder.outputs))
        compare = device.capture(lambda: [network.compare(encoder.outputs, decoder.outputs)])
        return cls(pixels, {"encoder": encoder, "decoder": decoder, "anomaly_map": compare})

    @property
    def answer(self) -> Tensor:
        """The result of the latest replay: see `model.inference.engine`."""
        return self.stages["anomaly_map"].outputs[0]

    def replay(self, device: Device) -> dict[str, Mark]:
        """Start all stages; return a mark at the end of each."""
        marks = {}
        for name, stage in self.stages.items():
            stage.replay()
            marks[name] = device.mark()
        return marks
