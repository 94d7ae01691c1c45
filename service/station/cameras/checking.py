"""Is this a usable picture at all? Finds unreadable, black and frozen images, and other sizes.

checker = ImageChecker(settings.cameras["top"])
checker.check(content)  # Reason.NONE, or why not
"""

import hashlib
from dataclasses import dataclass
from typing import Self

from model.errors import ImageError
from model.images.decoding import DecodeLimits, opened, sniff
from service.station.machine.verdicts import Reason
from service.station.settings import CameraSettings

_LIMITS = DecodeLimits(max_pixels=200_000_000, max_side=65_536, max_aspect=1_000)
_BRIGHT_SHARE = 0.001
"""Share of pixels that may be bright in a black image: a sensor has a few bright ones."""


class ImageChecker:
    """Checks the images of one camera, in their order."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._before: bytes | None = None
        self._size = settings.size
        """The size that images must have; by default that of the first."""

    def check(self, content: bytes) -> Reason:
        """Return NONE for a usable image; takes the time of decoding it."""
        try:
            with opened(content, _LIMITS) as image:
                image.load()
                pixels = image.upright()
        except ImageError:
            return Reason.IMAGE_UNREADABLE
        digest = hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).digest()
        before, self._before = self._before, digest
        if self._size is None:
            self._size = pixels.size
        if pixels.size != self._size:
            return Reason.IMAGE_SIZE
        histogram = pixels.convert("L").histogram()
        level = self._settings.black_below
        bright = sum(count for value, count in enumerate(histogram) if value >= level)
        if bright <= _BRIGHT_SHARE * sum(histogram):
            return Reason.IMAGE_BLACK  # without light all images are the same
        is_frozen = self._settings.frozen_check and digest == before
        return Reason.IMAGE_FROZEN if is_frozen else Reason.NONE


@dataclass(frozen=True, slots=True)
class Picture:
    """What people want to know of an image; `brightness` is the mean, from 0 to 255."""

    format: str
    width: int
    height: int
    brightness: float

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read an image. Raises `ImageError`."""
        with opened(content, _LIMITS) as image:
            image.load()
            grey = image.upright().convert("L")
        total = sum(value * count for value, count in enumerate(grey.histogram()))
        return cls(sniff(content), *grey.size, total / (grey.width * grey.height))
