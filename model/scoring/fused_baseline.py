"""The decoder's map and a memory's map of the same part, added on one scale.

    (A - median_A) / (high_A - median_A) + weight * (B - median_B) / (high_B - median_B)

A is the decoder's map, measured from its own baseline if the scoring has one, B the memory's.
`median` and `high`, the value that 99.5 % of pixels do not exceed, are those of good training
images whose patches were not in the memory that scored them: a part is always near its own patches,
so that its distances would promise too much of future parts.

    B  batch    F  values of an image: its map or differences, then its patches
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from model.errors import CalibrationError
from model.limits import LARGEST_NUMBER
from model.scoring.map_baseline import Baseline
from model.scoring.memory import Memory
from model.scoring.residual_baseline import FeatureBaseline

HIGH = 0.995
PATCHES, TRANSFORM, SCALE = "patches", "transform", "scale"
MEMORY_ARRAYS = {PATCHES, TRANSFORM, SCALE}
"""The names of its arrays."""

Pixels = Sequence[Float32[np.ndarray, " _"]]


@dataclass(frozen=True, slots=True, eq=False)
class FusedBaseline:
    """One category's memory beside its decoder's baseline; `decoder` is None if it has none.

    `scale` has median and high value of the decoder's good maps, then of the memory's. Raises
    `ValueError` for a scale that is not finite or does not rise.
    """

    decoder: Baseline | FeatureBaseline | None
    memory: Memory
    scale: Float32[np.ndarray, "2 2"]
    weight: float

    def __post_init__(self) -> None:
        scale = self.scale
        if (
            scale.shape != (2, 2)
            or not (np.abs(scale) <= LARGEST_NUMBER).all()
            or not (scale[:, 1] > scale[:, 0]).all()
        ):
            raise ValueError(
                "the scale of decoder and memory must be a median and a higher value of each, "
                f"got {scale.tolist()!r:.100}"
            )

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        decoder: Baseline | FeatureBaseline | None,
        grid: tuple[int, int],
        size: tuple[int, int],
        sigma: float,
        weight: float,
    ) -> "FusedBaseline":
        """Restore from `to_arrays` output and the decoder's baseline.

        Raises `KeyError` for a missing array, `ValueError` if values do not fit.
        """
        patches, transform = (arrays[name].astype(np.float32) for name in (PATCHES, TRANSFORM))
        memory = Memory(patches, transform, grid, size, sigma)
        return cls(decoder, memory, arrays[SCALE].astype(np.float32), weight)

    @property
    def factors(self) -> tuple[float, float, float]:
        """The numbers a, b, c of the fused map a * A + b * B - c."""
        (median_a, high_a), (median_b, high_b) = self.scale.astype(np.float64).tolist()
        a, b = 1 / (high_a - median_a), self.weight / (high_b - median_b)
        return a, b, a * median_a + b * median_b

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        decoder = 0 if self.decoder is None else self.decoder.nbytes
        return decoder + self.memory.nbytes

    def standardise(self, values: Float32[np.ndarray, "B F"]) -> Float32[np.ndarray, "B H W"]:
        """Return the fused maps, about 0 where a part is good and 1 + weight where it is doubtful.

        Raises `ValueError` for rows of another length.
        """
        compared, patches = split(values, self.memory)
        a, b, c = (np.float32(factor) for factor in self.factors)
        maps = decoder_maps(self.decoder, compared, self.memory.size)
        remembered = self.memory.maps(patches)
        with np.errstate(invalid="ignore", over="ignore"):  # a failed network's NaN passes through
            maps *= a
            remembered *= b
            maps += remembered
            maps -= c
        return maps

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        decoder = {} if self.decoder is None else self.decoder.to_arrays()
        memory = {PATCHES: self.memory.patches, TRANSFORM: self.memory.transform}
        return {**decoder, **memory, SCALE: self.scale}


def scale_of(pixels: Pixels) -> tuple[float, float]:
    """Return the median of good parts' pixels and the value that 99.5 % of them do not exceed.

    Raises `CalibrationError` if they are equal.
    """
    values = np.concatenate(pixels)
    median, high = (float(np.float32(value)) for value in np.quantile(values, [0.5, HIGH]))
    if not high > median:
        raise CalibrationError(
            f"the pixels of good parts are all {median:g}, so that the memory's map has no scale: "
            "add different good images, or train without --memory"
        )
    return median, high


def split(
    values: Float32[np.ndarray, "B F"], memory: Memory
) -> tuple[Float32[np.ndarray, "B _"], Float32[np.ndarray, "B _"]]:
    """Return each row's map or differences, and its patches."""
    compared = values.shape[1] - memory.features
    if compared <= 0:
        raise ValueError(
            f"a memory of {memory.channels} channels at {memory.grid} places needs more than "
            f"{memory.features} values an image, got {values.shape[1]}"
        )
    return values[:, :compared], values[:, compared:]


def decoder_maps(
    decoder: Baseline | FeatureBaseline | None,
    compared: Float32[np.ndarray, "B _"],
    size: tuple[int, int],
) -> Float32[np.ndarray, "B H W"]:
    """Return the decoder's maps of flat maps or differences, in new memory."""
    if isinstance(decoder, FeatureBaseline):
        return decoder.standardise(compared)
    maps = compared.reshape(-1, *size)
    return maps.copy() if decoder is None else decoder.standardise(maps)
