"""A camera that takes images all the time, as the thread that reads it sees it.

source.open()
taken_after_s = source.grab()  # waits for the next frame
image = source.retrieve()
source.close()
"""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""Height x width, or height x width x 3 in the order blue, green, red."""


class SourceLost(Exception):
    """The camera cannot be opened, or sends nothing any more."""


class FrameSource(Protocol):
    """All methods are called by one thread, and may block for a while."""

    @property
    def is_triggered(self) -> bool:
        """Whether each `grab` makes the camera take an image; else it takes them by itself."""
        ...

    def open(self) -> None:
        """Connect. Raises `SourceLost`."""
        ...

    def check(self) -> None:
        """See whether a camera that is triggered is still there. Raises `SourceLost`."""
        ...

    def grab(self) -> float:
        """Wait for the next frame; return the monotonic time in seconds after which it was taken.

        The time must be no later than the truth: a frame that waited in a buffer has an early one.
        Raises `SourceLost`.
        """
        ...

    def retrieve(self) -> Pixels | bytes:
        """Return the frame of the latest `grab`: its pixels, or its file. Raises `SourceLost`."""
        ...

    def close(self) -> None:
        """Disconnect; `open` may follow."""
        ...
