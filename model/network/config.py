"""The architecture of a MambaAD network."""

from dataclasses import dataclass

from model.errors import ConfigError
from model.limits import MOST_BLOCKS, MOST_SIDE_PX, MOST_STATES
from model.scan.orders import DIRECTIONS, SCANS, check_order
from model.stored import Stored

STAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig(Stored):
    """The architecture of a MambaAD network; the defaults are the paper's.

    `image_size` is (height, width) in pixels, each a multiple of 32. `depths` are the numbers of
    HSS blocks in the four decoder stages, coarse to fine. `encoder` is any timm model name with
    features at strides 4, 8 and 16; the decoder's widths follow its channels.

    Raises `ConfigError`, with the reason, for an impossible network.
    """

    encoder: str = "resnet34"
    image_size: tuple[int, int] = (256, 256)
    scan: str = "hilbert"
    directions: int = 8
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    state_size: int = 16
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        self._check_image_size()
        self._check_depths()
        if not 0 < len(self.encoder) <= 200:
            raise ConfigError(
                f"encoder must be the name of a timm model, got {self.encoder!r:.100}"
            )
        if self.scan not in SCANS:
            raise ConfigError(f"unknown scan {self.scan!r}; have: {', '.join(SCANS)}")
        if self.directions not in DIRECTIONS:
            raise ConfigError(f"directions must be one of {DIRECTIONS}, got {self.directions}")
        if not 1 <= self.state_size <= MOST_STATES:
            raise ConfigError(f"state_size must be 1 to {MOST_STATES}, got {self.state_size}")
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"drop_path must be in [0, 1), got {self.drop_path}")
        for height, width in self.stage_sizes:
            check_order(self.scan, self.directions, height, width)

    def _check_image_size(self) -> None:
        sides = self.image_size
        if len(sides) != 2 or any(n < 32 or n % 32 or n > MOST_SIDE_PX for n in sides):
            raise ConfigError(
                f"image_size must be (height, width), each a multiple of 32 from 32 to "
                f"{MOST_SIDE_PX} (the decoder starts at stride 32), got {sides}"
            )

    def _check_depths(self) -> None:
        if len(self.depths) != STAGES:
            raise ConfigError(
                f"depths must name {STAGES} stages, coarse to fine, got {self.depths}"
            )
        for depth in self.depths:
            if not 1 <= depth <= MOST_BLOCKS or (depth % 2 and depth % 3):
                raise ConfigError(
                    "each depth must be a positive multiple of 3 or of 2 (LSS modules hold three "
                    f"or two HSS blocks), at most {MOST_BLOCKS}, got {depth} in {self.depths}"
                )

    @property
    def stage_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the map in each decoder stage, coarse to fine."""
        height, width = self.image_size
        return tuple((height // s, width // s) for s in (32, 16, 8, 4))
