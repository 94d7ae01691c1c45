"""Random changes of good parts: mirroring, rotation, small shifts, brightness.

All are off by default and apply to 8-bit images before normalisation. Enable only changes after
which a good part is still good: a cell with bars must not be rotated by 90 degrees, and an
asymmetric part must not be mirrored.
"""

from dataclasses import dataclass

from model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The random changes of training images.

    `hflip` and `vflip` mirror left-right and top-bottom with probability 1/2; `rot90` rotates by a
    random multiple of 90 degrees. `shift` moves by up to that share of each side and repeats the
    edge; `brightness` multiplies by a factor within 1 plus or minus that value.
    """

    hflip: bool = False
    vflip: bool = False
    rot90: bool = False
    shift: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "brightness"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"{name} must be in [0, 0.5], got {getattr(self, name)}")

    @property
    def changes_anything(self) -> bool:
        """Whether any change is enabled."""
        return self != Augmentation()

    @property
    def versions(self) -> int | None:
        """How many versions of an image there are; None if almost every one is new."""
        if self.shift or self.brightness:
            return None
        if self.rot90:
            return 8 if self.hflip or self.vflip else 4
        return 1 << (self.hflip + self.vflip)
