"""How the features of encoder and decoder usually differ at each place of a good part.

Cosine similarity weighs all channels of a difference alike. If parts lie the same way in every
image, a Gaussian fitted on good ones describes how the difference varies at each place, across all
channels. A part's value is its Mahalanobis distance, as in PaDiM (Defard et al. 2021), but of the
reconstruction's error instead of the features, and on each scale's grid.

    P  places, h * w      C  channels of one scale    B  batch
    h, w  a scale's grid  H, W  size of the anomaly map
    F  all differences of an image, in the order of `model.scoring.residuals`
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32

from model.scoring.gaussians import Gaussians, Moments, Shape
from model.scoring.smoothing import Bands, resize_and_blur


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBaseline:
    """One category's Gaussians of each used scale, fine to coarse.

    A map has `size` (H, W) pixels; it is the mean of the scales' distances, weighted by `weights`
    (all above 0), blurred by `sigma` pixels.
    """

    scales: tuple[Gaussians, ...]
    weights: tuple[float, ...]
    size: tuple[int, int]
    sigma: float
    _down: Bands = field(init=False, repr=False)  # (H, h of all scales)
    _across: tuple[Float32[np.ndarray, "_ _"], ...] = field(init=False, repr=False)  # (w, W) each

    def __post_init__(self) -> None:
        height, width = self.size
        shares = np.array(self.weights) / sum(self.weights)
        pairs = zip(self.shapes, shares, strict=True)
        down = [s * resize_and_blur(h, height, self.sigma) for (_, h, _), s in pairs]
        across = [resize_and_blur(w, width, self.sigma).T for _, _, w in self.shapes]
        joined = Bands(np.concatenate(down, axis=1).astype(np.float32))
        object.__setattr__(self, "_down", joined)
        object.__setattr__(self, "_across", tuple(a.astype(np.float32, order="C") for a in across))

    @classmethod
    def fit(
        cls,
        batches: Iterable[Float[np.ndarray, "_ F"]],
        shapes: Sequence[Shape],
        weights: Sequence[float],
        size: tuple[int, int],
        sigma: float,
    ) -> "FeatureBaseline":
        """Fit on batches of differences; `shapes` and `weights` are those of all scales.

        Raises like `FeatureMoments.add` and `FeatureMoments.baseline`.
        """
        moments = FeatureMoments(shapes, weights, size, sigma)
        for batch in batches:
            moments.add(batch)
        return moments.baseline()

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        weights: Sequence[float],
        size: tuple[int, int],
        sigma: float,
    ) -> "FeatureBaseline":
        """Restore from `to_arrays` output. Raises `ValueError` if names or shapes do not fit."""
        used = _above_0(weights)
        names = [(f"mean_{k}", f"whitening_{k}", f"unit_{k}") for k in range(len(used))]
        expected = {name for scale in names for name in scale}
        if arrays.keys() != expected:
            raise ValueError(
                f"a baseline of {len(used)} scales needs {', '.join(sorted(expected))}; "
                f"got {', '.join(sorted(arrays))}"
            )
        scales = tuple(Gaussians.from_arrays(*(arrays[name] for name in s)) for s in names)
        return cls(scales, used, size, sigma)

    @property
    def stretches(self) -> list[tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]]:
        """The matrices from each scale's distances to its share of the map: (H, h), (w, W)."""
        ends = np.cumsum([height for _, height, _ in self.shapes])[:-1]
        down = np.split(self._down.matrix, ends, axis=1)
        return list(zip(down, self._across, strict=True))

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the used scales."""
        return [scale.mean.shape for scale in self.scales]

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(scale.nbytes for scale in self.scales)

    def standardise(self, values: Float32[np.ndarray, "B F"]) -> Float32[np.ndarray, "B H W"]:
        """Return the anomaly maps of differences: root mean square deviations, about 1 if good.

        Raises `ValueError` for differences of other shapes.
        """
        maps = np.empty((len(values), *self.size), np.float32)
        parts = _cut(values, self.shapes)
        with np.errstate(invalid="ignore", over="ignore"):  # a failed network's NaN passes through
            for number, differences in enumerate(zip(*parts, strict=True)):
                distances = [s.distances(d) for s, d in zip(self.scales, differences, strict=True)]
                pairs = zip(distances, self._across, strict=True)
                wide = np.concatenate([np.einsum("kl,lw->kw", *pair) for pair in pairs])
                maps[number] = self._down @ wide
        return maps

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store, named "<array>_<index of the used scale>"."""
        return {
            f"{name}_{number}": array
            for number, scale in enumerate(self.scales)
            for name, array in scale.to_arrays().items()
        }


class FeatureMoments:
    """Moments of differences at each place, from which a baseline is made; they can be added.

    `shapes` and `weights` are those of all scales.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        weights: Sequence[float],
        size: tuple[int, int],
        sigma: float,
    ) -> None:
        self._made = (_above_0(weights), size, sigma)
        self._shapes = [shape for shape, weight in zip(shapes, weights, strict=True) if weight]
        self._scales = [Moments(shape) for shape in self._shapes]

    def add(self, values: Float[np.ndarray, "B F"]) -> None:
        """Count images in. Raises `ValueError` for differences of other shapes."""
        for moments, part in zip(self._scales, _cut(values, self._shapes), strict=True):
            moments.add(part)

    def include(self, other: "FeatureMoments") -> None:
        """Count another's images in."""
        for moments, more in zip(self._scales, other._scales, strict=True):
            moments.include(more)

    def baseline(self) -> FeatureBaseline:
        """Return the baseline; raises like `Moments.gaussians`."""
        return FeatureBaseline(tuple(m.gaussians() for m in self._scales), *self._made)


def _above_0(weights: Sequence[float]) -> tuple[float, ...]:
    return tuple(weight for weight in weights if weight)


def _cut(
    values: Float[np.ndarray, "B F"], shapes: Sequence[Shape]
) -> list[Float[np.ndarray, "B _ _ _"]]:
    """Return each scale's part of flat differences, in its shape."""
    sizes = [math.prod(shape) for shape in shapes]
    if values.shape[1] != sum(sizes):
        raise ValueError(
            f"shapes {shapes} need {sum(sizes)} differences an image, got {values.shape[1]}"
        )
    parts = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
