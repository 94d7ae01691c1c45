"""Measures whether parts lie the same way in every image, from the encoder's features.

The measure is the share of the features' variance that the place explains, at stride 16 and without
`MARGIN` places at each edge, where padding makes all images alike. It is the intraclass correlation
of a two-way analysis of variance (images and places), averaged over the channels: 1 if all images
are the same, and about 0 for random textures, however few the images. Periodic textures can agree
by chance, so it must also be above the shares of copies in which each image's features are shifted
at random.

Measured with EfficientNet-Lite0 on the development sets of `benchmarks/quality`, 5 to 50 images:

    textures, upright, turned, wide             -0.01 to 0.09
    plates and cells shifted by up to 50 %      -0.02 to 0.03
    plates and cells shifted by up to 12 %       0.04 to 0.20
    plates and cells shifted by up to 3 %        0.13 to 0.40
    polycrystalline cells                        0.16 to 0.31
    monocrystalline cells                        0.46 to 0.61
    plates with a texture as their surface       0.39 to 0.49

Also tried: the share of places whose nearest feature in another image is at the same place. It
separates the same sets (at most 0.05 against at least 0.15), but costs the square of the places.
With 3 images, neither separates them.

`asymmetry` compares the average part with the average mirrored part: 0 if they are equal, 1 if they
have nothing in common. It is estimated without the images' own scatter. The sets above have at most
0.04; with a dark corner drawn into every part, cells have 0.35 to 0.55 and plates 0.01 to 0.07.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

THRESHOLD = 0.12
"""Parts are aligned from this share on; textures stay below 0.1."""
MIRRORED_THRESHOLD = 0.2
"""Parts are aligned except for mirroring from this share on, after each was mirrored to fit."""
ASYMMETRY_THRESHOLD = 0.05
"""Mirrored parts look like parts up to this asymmetry."""
LEAST_IMAGES = 5
"""With fewer images of a category, alignment is unknown."""
MARGIN = 2
_SHIFTED_COPIES = 19
_SEED = 20261130
_FITTING_ROUNDS = 4
_TINY = 1e-9

Maps = Float[Tensor, "N C h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How alike the `images` of one category lie.

    `share` is the measure, `by_chance` the highest share of shifted copies, and `fitted` and
    `fitted_by_chance` the same after each image was mirrored left-right, if that fits better.
    `left_right` and `top_bottom` are the asymmetries; they mean little for parts not aligned.
    """

    images: int
    share: float
    by_chance: float
    fitted: float
    fitted_by_chance: float
    left_right: float
    top_bottom: float

    @property
    def is_aligned(self) -> bool:
        """Whether the parts lie the same way."""
        return self.share >= THRESHOLD and self.share > self.by_chance

    @property
    def is_aligned_but_mirrored(self) -> bool:
        """Whether the parts lie the same way, except that some are mirrored."""
        fits = self.fitted >= MIRRORED_THRESHOLD and self.fitted > self.fitted_by_chance
        return fits and not self.is_aligned

    def mirrors(self, flip: str) -> bool:
        """Whether mirrored images look like parts; `flip` is "hflip" or "vflip".

        Always for parts that do not lie the same way, such as textures.
        """
        asymmetry = self.left_right if flip == "hflip" else self.top_bottom
        is_placed = self.is_aligned or self.is_aligned_but_mirrored
        return not is_placed or asymmetry <= ASYMMETRY_THRESHOLD

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, and whether parts are aligned."""
        figures = {k: round(v, 4) for k, v in asdict(self).items()}
        return figures | {"aligned": self.is_aligned}


def measure(maps: Maps, mirrored: Mapping[str, Maps]) -> Alignment:
    """Measure the features of at least two images of one category.

    `mirrored` has the features of the mirrored images: "hflip" left-right, "vflip" top-bottom.
    """
    inner, flips = _inner(maps), {flip: _inner(values) for flip, values in mirrored.items()}
    copies = list(_shifted(inner, flips["hflip"]))
    return Alignment(
        images=len(maps),
        share=share(inner),
        by_chance=max(share(copy) for copy, _ in copies),
        fitted=share(_fit(inner, flips["hflip"])),
        fitted_by_chance=max(share(_fit(*copy)) for copy in copies),
        left_right=asymmetry(inner, flips["hflip"]),
        top_bottom=asymmetry(inner, flips["vflip"]),
    )


def share(maps: Maps) -> float:
    """Return the share of the variance that the place explains, averaged over the channels.

    0 for features that do not vary.
    """
    images = len(maps)
    values = _centred(maps).flatten(2)  # N C P
    places = values.shape[-1]
    means = values.mean(0)
    between = images * means.square().sum(-1) / (places - 1)
    within = (values - means).square().sum((0, 2)) / ((images - 1) * (places - 1))
    total = between + (images - 1) * within
    varies = total > _TINY
    if not varies.any():
        return 0.0
    return float(((between - within) / total.clamp_min(_TINY))[varies].mean())


def asymmetry(maps: Maps, mirrored: Maps) -> float:
    """Return how different the average mirrored part is: 0 for equal, 1 for unrelated ones.

    1 also where no average part stands out from the images' scatter.
    """
    deviations = _centred(maps).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(_TINY)
    first, second = _centred(maps) / deviations, _centred(mirrored) / deviations
    size = _squared_mean(first) + _squared_mean(second)
    difference = _squared_mean(first - second)
    if size <= _TINY:
        return 0.0 if difference <= _TINY else 1.0
    return min(max(difference / size, 0.0), 1.0)


def _squared_mean(maps: Maps) -> float:
    """Return the squared length of the expected map, without the scatter of single images."""
    values, count = maps.flatten(1).double(), len(maps)
    crossed = values.sum(0).square().sum() - values.square().sum()
    return float(crossed / (count * (count - 1)))


def _centred(maps: Maps) -> Maps:
    """Subtract each image's own mean, so that its brightness does not count."""
    values: Maps = maps - maps.mean((2, 3), keepdim=True)
    return values


def _inner(maps: Maps) -> Float[Tensor, "N C _ _"]:
    """Cut the edges off, as far as something is left."""
    down, across = (max(0, min(MARGIN, (side - 2) // 2)) for side in maps.shape[-2:])
    height, width = maps.shape[-2:]
    inner: Tensor = maps[..., down : height - down, across : width - across].float()
    return inner


def _shifted(maps: Maps, mirrored: Maps) -> Sequence[tuple[Maps, Maps]]:
    """Return copies in which each image, and its mirror image, is moved around at random."""
    generator = torch.Generator().manual_seed(_SEED)
    height, width = maps.shape[-2:]
    copies = []
    for _ in range(_SHIFTED_COPIES):
        moves = torch.rand((len(maps), 2), generator=generator) * torch.tensor([height, width])
        steps = [(int(down), int(across)) for down, across in moves.tolist()]
        moved = [m.roll(step, (-2, -1)) for m, step in zip(maps, steps, strict=True)]
        other = [
            m.roll((down, -across), (-2, -1))
            for m, (down, across) in zip(mirrored, steps, strict=True)
        ]
        copies.append((torch.stack(moved), torch.stack(other)))
    return copies


def _fit(maps: Maps, mirrored: Maps) -> Maps:
    """Return each image or its mirror image, whichever is more like the average one."""
    deviations = _centred(maps).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(_TINY)
    versions = torch.stack([_centred(maps) / deviations, _centred(mirrored) / deviations])
    numbers = torch.arange(len(maps))
    average: Tensor = versions[0, 0]
    fitted: Maps = versions[0]
    for _ in range(_FITTING_ROUNDS):
        distances = (versions - average).square().flatten(2).mean(2)
        fitted = versions[distances.argmin(0), numbers]
        average = fitted.mean(0)
    return fitted
