"""What computes: from pixels to what the scoring compares, by whatever library and device.

`Detector` holds one, and knows nothing else about the network.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

T = TypeVar("T")

Lap: TypeAlias = Callable[[str], None]
"""Called with the name of a stage when it ends, and not before the device is done with it."""


@runtime_checkable
class Engine(Protocol):
    """A network in memory, ready to compute; it belongs to one thread at a time."""

    @property
    def device(self) -> str:
        """Where it computes: "cpu" or "cuda:N"."""

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without an encoder that it may share."""

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Return how each image's features differ from the rebuilt ones, by `Scoring.distance`.

        "cosine": the raw anomaly maps (B, H, W), blurred, the scales weighted, not standardised.
        "mahalanobis": the differences (B, F) of `model.scoring.residuals`, those of the used scales
        in one flat row an image.

        The array is the caller's. A network that fails answers NaN or infinity in it. Raises
        `OutOfMemory` for a batch that is too large, `DeviceLost` where nothing more will come.
        """

    def answers(self) -> bool:
        """Say whether the device still answers, after an error that says nothing about it."""

    def release(self) -> None:
        """Give back memory that is only kept for later batches."""


@runtime_checkable
class Preparable(Protocol):
    """An engine that can be made faster before it is used."""

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that make batches of up to `most` images fast.

        Each is to be run in order on the engine's thread; batches may be computed between them.
        """


@runtime_checkable
class Divisible(Protocol):
    """An engine that computes parts of a batch side by side faster than the whole."""

    def divide(self, count: int) -> Sequence[slice]:
        """Return the parts that a batch of `count` images is best computed in, often only one."""

    def side_by_side(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make calls that each compute a part, and return in order what they return.

        None is running any more when this returns or raises; what the first failed call raised.
        """
