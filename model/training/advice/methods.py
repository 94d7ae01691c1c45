"""The compared methods: the trained network, and baselines on its encoder's features."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from model.dataset import Sample, inspection_batches
from model.evaluation.rivalry import METHODS
from model.inference.detector import Detector
from model.inspection import Category
from model.rivals import Features, Padim, PatchCore, spread

NETWORK, PADIM, PATCHCORE = METHODS
_BATCH = 8

Advance = Callable[[int], None]
"""Called with the number of images that have been done."""

Maps = Mapping[str, Float32[np.ndarray, "B H W"]]
"""Each method's anomaly maps of the same inputs."""


@runtime_checkable
class Method(Protocol):
    """Methods that see the same inputs; they may share work, so they are asked together."""

    def maps(self, inputs: UInt8[np.ndarray, "B 3 H W"]) -> Maps:
        """Return each method's raw map of each input."""


class Network:
    """The trained network of a detector, for one category."""

    def __init__(self, detector: Detector, category: Category) -> None:
        self._detector = detector
        self._category = category

    def maps(self, inputs: UInt8[np.ndarray, "B 3 H W"]) -> Maps:
        """Return the detector's maps, standardised by the category's baseline if it has one."""
        return {NETWORK: self._detector.anomaly_maps(inputs, [self._category] * len(inputs))}


class Baselines:
    """PaDiM and PatchCore, fitted on the same good images."""

    def __init__(self, features: Features, padim: Padim | None, patchcore: PatchCore) -> None:
        self._features = features
        fitted = {PADIM: padim, PATCHCORE: patchcore}
        self._fitted = {name: method for name, method in fitted.items() if method is not None}

    @classmethod
    def fit(
        cls, features: Features, train: Sequence[Sample], seed: int, advance: Advance
    ) -> "Baselines":
        """Fit on good images; PaDiM needs two. Calls `advance` with the images of each batch."""
        patches: list[list[Tensor]] = []
        passing = _remembered(scales_of(features, train, advance), patches)
        padim = Padim.fit(passing, seed) if len(train) > 1 else None
        if padim is None:
            patches = list(scales_of(features, train, advance))
        return cls(features, padim, PatchCore.fit(patches, len(train), seed))

    def maps(self, inputs: UInt8[np.ndarray, "B 3 H W"]) -> Maps:
        """Return the maps of each baseline, at the size of the inputs."""
        scales = self._features.scales(inputs)
        size = self._features.preprocessing.image_size
        return {
            name: spread(method.distances(scales), size) for name, method in self._fitted.items()
        }


def scales_of(
    features: Features, samples: Sequence[Sample], advance: Advance
) -> Iterator[list[Tensor]]:
    """Yield the encoder's feature maps of the samples' inputs, batch by batch."""
    for batch in inspection_batches(samples, features.preprocessing, _BATCH):
        yield features.scales(batch.images)
        advance(len(batch.samples))


def _remembered(
    batches: Iterable[list[Tensor]], patches: list[list[Tensor]]
) -> Iterator[list[Tensor]]:
    """Pass batches on, and add to `patches` what PatchCore needs: all except the finest scale."""
    for finest, *coarser in batches:
        patches.append([finest[:, :0], *coarser])
        yield [finest, *coarser]
