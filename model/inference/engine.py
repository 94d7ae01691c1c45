"""An engine computes the network: from pixels to the input of the scoring.

`Detector` reaches the network only through this Protocol, whatever the library and device.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

T = TypeVar("T")

Lap: TypeAlias = Callable[[str], None]
"""Called with the name of a stage when the device has finished it."""


@runtime_checkable
class Engine(Protocol):
    """A network in memory, ready to compute; it belongs to one thread at a time."""

    @property
    def device(self) -> str:
        """The device: "cpu" or "cuda:N"."""

    @property
    def library(self) -> str:
        """The library that computes: "torch", "onnxruntime" or "openvino"."""

    @property
    def precision(self) -> str:
        """The precision of most products, such as "float32" or "bfloat16"."""

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without a shared encoder."""

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Compare each image's features with the reconstructed ones, by `Scoring.distance`.

        "cosine": the raw anomaly maps (B, H, W), blurred, the scales weighted, not standardised.
        "mahalanobis": the differences (B, F) of `model.scoring.residuals`, one flat row an image.

        With `Scoring.memory`, one flat row an image: its map or differences as above, then its
        `model.scoring.patches`.

        The caller may change the array. A network that fails fills it with NaN or infinity. Raises
        `OutOfMemory` if the batch is too large, `DeviceLost` if the device is unusable from now on.
        """

    def answers(self) -> bool:
        """Return whether the device still works, after an error that leaves this open."""

    def release(self) -> None:
        """Free memory that is cached for later batches."""


def name_of(engine: Engine) -> str:
    """Return the library that computes and its precision, such as "torch, float32"."""
    return f"{engine.library}, {engine.precision}"


@runtime_checkable
class Preparable(Protocol):
    """An engine that runs faster after some preparation."""

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that make batches of up to `most` images fast.

        Run them in order on the engine's thread; batches may be computed between them.
        """


@runtime_checkable
class Remembering(Protocol):
    """An engine that computes the patches of a memory without the decoder."""

    def patches(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B F"]:
        """Return the patches that end the rows of `Engine.compare`; raises like it."""


@runtime_checkable
class Divisible(Protocol):
    """An engine that computes parts of a batch side by side faster than the batch at once."""

    def divide(self, count: int) -> Sequence[slice]:
        """Return the fastest division of a batch of `count` images, often a single part."""

    def side_by_side(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls that each compute a part, and return their results in order.

        All have ended when this returns or raises. Raises the exception of the first failed call.
        """
