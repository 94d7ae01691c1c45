"""The time of one image: the median of single images on a warm device, without reading the file."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from model.dataset import Sample, inspection_batches
from model.inference.detector import Detector

MOST_TIMED = 20
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds for one image by two checkpoints on one device."""

    device: str
    image_ms: tuple[float, float]

    def text(self, names: tuple[str, str]) -> str:
        """Return both times as a sentence."""
        both = ", ".join(f"{n} {ms:.1f} ms" for n, ms in zip(names, self.image_ms, strict=True))
        return f"Time for one image on {self.device}: {both}."

    def to_dict(self) -> dict[str, Any]:
        """Return device and times as JSON values."""
        return {"device": self.device, "image_ms": list(self.image_ms)}


def inspection_ms(detector: Detector, samples: Sequence[Sample]) -> float:
    """Return the milliseconds of one inspection, from the network's input to the decision."""
    return timed_ms([_inspection(detector, sample) for sample in timed_samples(samples)])


def timed_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return at most `MOST_TIMED` of the samples, spread over all."""
    return list(samples[:: -(-len(samples) // MOST_TIMED)])


def timed_ms(calls: Sequence[Call]) -> float:
    """Return the median milliseconds of the calls, after one that is not counted."""
    calls[0]()
    milliseconds = []
    for call in calls:
        started = time.perf_counter()
        call()
        milliseconds.append(1000 * (time.perf_counter() - started))
    return median(milliseconds)


def _inspection(detector: Detector, sample: Sample) -> Call:
    batch = next(inspection_batches([sample], detector.preprocessing, 1))
    return lambda: detector.inspect(batch.images, batch.categories, batch.image_sizes)
