"""Fits each category's memory of good parts, and the scale of its map beside the decoder's.

The scale is of images that neither the memory nor the baseline of places has seen: the images are
dealt to folds, and each fold is scored with a memory and a baseline of the others. Duplicates and
near duplicates stay in one fold. The final memory is of all images. Where training mirrors the
images, so does the memory, if they are few and parts lie the same way. On textures mirrored images
gave 0.3 to 0.7 points more image AUROC and 1.3 to 1.8 points less AUPRO, on plates 1 to 4 more
image AUROC (development sets of `benchmarks/quality`, 20 and 50 images).

With a single image, or copies of one, its left half is scored with a memory of its right half and
the other way round. That scale is rough: the two halves of a part may differ. A baseline of places
needs two other images; if no fold leaves two, the decoder's scale is the usual one of such a
baseline (`NOMINAL`).

    k  patches      C  channels      n  inputs of an image
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8

from model.dataset import Sample, inspection_batches
from model.errors import CalibrationError
from model.images.framing import Frame
from model.inference.detector import Detector
from model.inspection import Category
from model.scoring.coreset import farthest_first, projected
from model.scoring.fused_baseline import FusedBaseline, decoder_maps, scale_of, split
from model.scoring.gaussians import Shape
from model.scoring.map_baseline import Baseline, MapMoments
from model.scoring.memory import Memory
from model.scoring.residual_baseline import FeatureBaseline, FeatureMoments
from model.scoring.whitening import partial_whitening
from model.training.dealing import FOLDS, deal

CANDIDATES = 30_000
"""About so many patches are drawn, as many from each image, from which the memory is chosen."""
MIRRORED = 100
"""With more images than this, mirrored ones would add little."""
NOMINAL = {"mahalanobis": (1.0, 2.0), "cosine": (0.0, 3.0)}
"""Usual median and high value of a map from a baseline of places, by `Scoring.distance`."""
_KEPT_BYTES = 512 * 2**20
"""Memory for the features of the images that set the scale, evenly chosen if there are more."""
_INPUTS_AT_ONCE = 16

Axes: TypeAlias = tuple[int, ...]
"""The axes of inputs (n, 3, H, W) that are reversed: () for none, (3,) mirrors left and right."""
Say: TypeAlias = Callable[[str], None]
_Rows: TypeAlias = Float32[np.ndarray, "n F"]
_Compute: TypeAlias = Callable[[UInt8[np.ndarray, "n 3 H W"]], _Rows]
_Pixels: TypeAlias = list[Float32[np.ndarray, " _"]]

logger = logging.getLogger(__name__)


def fit_memory(
    detector: Detector,
    samples: Sequence[Sample],
    shapes: Sequence[Shape],
    say: Say,
    mirrors: Sequence[Axes] = (),
) -> FusedBaseline:
    """Return one category's memory beside its decoder's baseline, from its good `samples`.

    `shapes` are `MambaAD.feature_shapes`; the memory is of images mirrored in each of `mirrors`,
    too. Raises `CalibrationError` for images that are all alike.
    """
    category = samples[0].category
    parts = deal(samples)
    aligned = detector.scoring.needs_alignment
    if not aligned or len(samples) > MIRRORED or max(parts) == 0:
        mirrors = ()
    say(f"{category}: memory of {len(samples)} images")
    gathered = _Gathered(detector, shapes, parts, len(samples) * (1 + len(mirrors)))
    for index, (rows, frame) in enumerate(_rows(detector, samples, detector.compare)):
        gathered.add(index, rows, frame)
    for axes in mirrors:
        for index, (rows, _) in enumerate(_rows(detector, samples, detector.patches, axes)):
            gathered.add_mirrored(index, rows, axes)
    decoder, memory = gathered.decoder(), gathered.memory()
    decoder_pixels: _Pixels = []
    memory_pixels: _Pixels = []
    for part in range(gathered.parts):
        say(f"{category}: scale of the memory, fold {part + 1} of {gathered.parts}")
        ours, theirs = gathered.scored(part, category)
        decoder_pixels += ours
        memory_pixels += theirs
    scoring = detector.scoring
    if not decoder_pixels:
        logger.warning("%s: too few different good images to measure the decoder's map", category)
    nominal = NOMINAL[scoring.distance]
    scale = [scale_of(decoder_pixels) if decoder_pixels else nominal, scale_of(memory_pixels)]
    return FusedBaseline(decoder, memory, np.array(scale, np.float32), scoring.memory_weight)


def mirrors_of(*, hflip: bool, vflip: bool) -> list[Axes]:
    """Return the axes of all mirrored versions of an image."""
    return [
        axes for axes, used in (((3,), hflip), ((2,), vflip), ((2, 3), hflip and vflip)) if used
    ]


def _rows(
    detector: Detector, samples: Sequence[Sample], compute: _Compute, axes: Axes = ()
) -> Iterator[tuple[_Rows, Frame]]:
    """Yield the rows that `compute` returns for an image's inputs, mirrored, and their frame."""
    preprocessing = detector.preprocessing
    at_once = 1 if preprocessing.resize == "tile" else _INPUTS_AT_ONCE // 2
    for batch in inspection_batches(samples, preprocessing, at_once):
        starts = range(0, len(batch.images), _INPUTS_AT_ONCE)
        parts = [compute(np.flip(batch.images[i : i + _INPUTS_AT_ONCE], axes)) for i in starts]
        compared = parts[0] if len(parts) == 1 else np.concatenate(parts)
        start = 0
        for size in batch.image_sizes:
            frame = preprocessing.frame(size)
            yield compared[start : start + frame.inputs], frame
            start += frame.inputs


@dataclass(eq=False)
class _Gathered:
    """The statistics, patches and features of one category's images, by part.

    A part is a fold, or a half of the only image. `images` counts mirrored ones, too.
    """

    detector: Detector
    shapes: Sequence[Shape]
    folds: Sequence[int]
    images: int
    parts: int = field(init=False)
    _moments: list[MapMoments | FeatureMoments] = field(init=False)
    _patches: list[list[Float32[np.ndarray, "_ C"]]] = field(init=False)
    _kept: list[tuple[int, _Rows, Frame]] = field(default_factory=list)
    _every: int = 0

    def __post_init__(self) -> None:
        self.parts = max(self.folds) + 1
        self._moments = [self._no_moments() for _ in range(self.parts)]
        if self.parts == 1:
            self.parts = 2
            logger.warning(
                "the memory's scale comes from the halves of a single good image: add more, "
                "different ones"
            )
        self._patches = [[] for _ in range(self.parts)]

    @property
    def _in_halves(self) -> bool:
        return len(self._moments) == 1

    @property
    def _grid(self) -> tuple[int, int]:
        return self.shapes[1][1:]

    @property
    def _channels(self) -> int:
        return sum(channels for channels, _, _ in self.shapes[1:])

    def add(self, index: int, rows: _Rows, frame: Frame) -> None:
        """Count an image in."""
        fold = self.folds[index]
        self._count(self._moments[fold], rows[:, : -self._features])
        self._draw([0, index], fold, rows)
        if not self._every:
            most = max(2 * FOLDS, _KEPT_BYTES // rows.nbytes)
            self._every = math.ceil(self.images / most)
        if index % self._every == 0:
            self._kept.append((fold, rows.copy(), frame))

    def add_mirrored(self, index: int, rows: _Rows, axes: Axes) -> None:
        """Draw patches from a mirrored image."""
        self._draw([0, index, *axes], self.folds[index], rows)

    def decoder(self, left_out: int | None = None) -> Baseline | FeatureBaseline | None:
        """Return the decoder's baseline from all folds but one; None if the scoring has none.

        Raises `CalibrationError` for too few images, or equal ones.
        """
        if not self.detector.scoring.needs_alignment:
            return None
        total = self._no_moments()
        for fold, moments in enumerate(self._moments):
            if fold != left_out:
                total.include(moments)  # type: ignore[arg-type]  # all are of one class
        return total.baseline()

    def memory(self, left_out: int | None = None) -> Memory:
        """Return the memory of all parts but one."""
        drawn = [p for part, some in enumerate(self._patches) if part != left_out for p in some]
        candidates = np.concatenate(drawn)
        count = min(self.detector.scoring.memory, len(candidates))
        transform = partial_whitening(candidates)
        points = projected(
            torch.from_numpy(candidates @ transform.T), torch.Generator().manual_seed(0)
        )
        patches = candidates[farthest_first(points, count).numpy()]
        size, sigma = self.detector.preprocessing.image_size, self.detector.scoring.sigma
        return Memory(np.ascontiguousarray(patches), transform, self._grid, size, sigma)

    def scored(self, part: int, category: Category) -> tuple[_Pixels, _Pixels]:
        """Return the pixels of the decoder's and the memory's maps of one part, by the others.

        None of the decoder's if the others are too few for a baseline of places.
        """
        kept = [
            (rows, frame) for fold, rows, frame in self._kept if self._in_halves or fold == part
        ]
        if not kept:
            return [], []
        memory, decoder = self.memory(left_out=part), self._unseen_decoder(part)
        ours, theirs = [], []
        for rows, frame in kept:
            compared, patches = split(rows, memory)
            if decoder or not self.detector.scoring.needs_alignment:
                maps = decoder_maps(decoder, compared, memory.size)
                ours.append(self._pixels(maps, frame, category))
            theirs.append(self._pixels(memory.maps(patches), frame, category, part))
        return ours, theirs

    def _unseen_decoder(self, fold: int) -> Baseline | FeatureBaseline | None:
        """Return the decoder's baseline from the other folds; None if it has none."""
        try:
            return None if self._in_halves else self.decoder(left_out=fold)
        except CalibrationError:  # too few images, or equal ones
            return None

    def _pixels(
        self,
        maps: Float32[np.ndarray, "n H W"],
        frame: Frame,
        category: Category,
        half: int | None = None,
    ) -> Float32[np.ndarray, " _"]:
        """Return the pixels that count; of the only image, those new to the memory."""
        if self._in_halves and half is not None:
            middle = maps.shape[2] // 2
            halves = (maps[:, :, :middle], maps[:, :, middle:])
            return halves[half].ravel()
        return self.detector.areas.counted(frame.assemble(maps), category).ravel()

    def _no_moments(self) -> MapMoments | FeatureMoments:
        scoring, size = self.detector.scoring, self.detector.preprocessing.image_size
        if scoring.measures_differences:
            return FeatureMoments(self.shapes, scoring.scale_weights, size, scoring.sigma)
        return MapMoments()

    def _count(self, moments: MapMoments | FeatureMoments, compared: _Rows) -> None:
        if not self.detector.scoring.needs_alignment:
            return
        if isinstance(moments, MapMoments):
            compared = compared.reshape(-1, *self.detector.preprocessing.image_size)
        moments.add(compared)

    @property
    def _features(self) -> int:
        return self._channels * math.prod(self._grid)

    def _draw(self, seed: list[int], fold: int, rows: _Rows) -> None:
        """Draw some of an image's patches."""
        by_input = rows[:, -self._features :].reshape(len(rows), self._channels, -1)
        places = by_input.transpose(0, 2, 1).reshape(-1, self._channels)
        some = math.ceil(CANDIDATES / self.images)
        drawn = np.random.default_rng(seed).permutation(len(places))[:some]
        if not self._in_halves:
            self._patches[fold].append(places[drawn])
            return
        for half, chosen in enumerate(self._by_half(drawn)):
            self._patches[half].append(places[chosen])

    def _by_half(self, places: Int[np.ndarray, " _"]) -> tuple[np.ndarray, np.ndarray]:
        width = self._grid[1]
        left = places % width < width // 2
        return places[left], places[~left]
