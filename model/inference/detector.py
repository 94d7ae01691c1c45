"""Images in, inspections out: the one inference path of trainer, command line and service."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from model.calibration.calibration import Calibration
from model.errors import ImageError, NonFiniteOutput, UnknownCategory
from model.images.areas import Area, Areas
from model.images.framing import Frame, check_baselines
from model.images.preprocess import Preprocessing
from model.inference.engine import Divisible, Engine, Preparable
from model.inference.stopwatch import Stopwatch
from model.inspection import AnomalyMap, Category, Decision, ImageSize, Inspection
from model.scoring.baselines import AnyBaseline, standardised
from model.scoring.scores import Scoring, find_regions, peak_region

_TILES_AT_ONCE = 16
_NOT_FINITE = (
    "the network answered NaN or infinity: the image was not inspected; "
    "check the checkpoint's weights"
)
_Asked: TypeAlias = tuple[Category, Calibration, ImageSize]


class Detector:
    """Inspects batches of images with one network, for each category it is calibrated for.

    `baselines` are needed for every category where the scoring uses them; `areas` say which part
    of a category's images counts. Images come as the inputs that `Preprocessing.to_arrays` makes of
    them, one after the other, and a tiled image is several: how many follows from its size. No more
    than `inputs_at_once` are computed at a time, unless there are as many images.
    """

    def __init__(
        self,
        engine: Engine,
        preprocessing: Preprocessing,
        scoring: Scoring,
        calibrations: Mapping[Category, Calibration],
        baselines: Mapping[Category, AnyBaseline] | None = None,
        areas: Mapping[Category, Area] | None = None,
    ) -> None:
        check_baselines(preprocessing.resize, scoring.uses_baselines)
        self.engine = engine
        self.preprocessing = preprocessing
        self.scoring = scoring
        self.calibrations = dict(calibrations)
        self.baselines = dict(baselines or {})
        self.areas = Areas(areas or {})
        self.inputs_at_once = _TILES_AT_ONCE

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return what can be done first to be fast, if anything; see `Preparable`."""
        return self.engine.preparation(most) if isinstance(self.engine, Preparable) else ()

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that can be decided."""
        return tuple(self.calibrations)

    def anomaly_maps(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category] | None = None
    ) -> Float32[np.ndarray, "B H W"]:
        """Return the raw anomaly map of each input, standardised as its category's are.

        Without `categories`, the network's own maps, where it has any. Inputs stand for themselves
        here: see `image_maps` for those of images. Raises `NonFiniteOutput`, and `UnknownCategory`
        for a category without the baseline that the scoring asks for.
        """
        found = self.compare(images)
        if categories is None:
            if self.scoring.measures_differences:
                raise UnknownCategory("distance 'mahalanobis' has no maps without a category")
            return found
        return self._standardised(found, categories)

    def compare(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B *what"]:
        """Return what the engine makes of inputs; see `Engine`. Raises `NonFiniteOutput`."""
        found = self.engine.compare(images, Stopwatch().lap)
        if not np.isfinite(found).all():
            raise NonFiniteOutput(_NOT_FINITE)
        return found

    def raw_scores(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category]
    ) -> list[float]:
        """Return each input's raw score, with or without thresholds; raises as `anomaly_maps`."""
        maps = self.anomaly_maps(images, categories)
        return [float(score) for score in self.scoring.raw_scores(maps)]

    def image_maps(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Return the map of each image, as its category's thresholds take it.

        It spans the image edge to edge, and outside the category's area is as low as the lowest
        pixel that counts. Raises as `anomaly_maps`.
        """
        frames = self._frames(images, image_sizes)
        maps = self._image_maps(images, categories, frames, Stopwatch())
        if not all(np.isfinite(values).all() for values in maps):
            raise NonFiniteOutput(_NOT_FINITE)
        return [self.areas.lowered(*pair) for pair in zip(maps, categories, strict=True)]

    def raw_score(self, values: Float32[np.ndarray, "h w"], category: Category) -> float:
        """Return the raw score of an image's map."""
        return float(self.scoring.raw_scores(self.areas.counted(values, category)[None, None])[0])

    def inspect(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
        calibrations: Sequence[Calibration] | None = None,
    ) -> list[Inspection]:
        """Inspect a batch, each image by its category's threshold.

        `image_sizes` are those of the images before resizing, for regions and heatmaps; one of
        `calibrations` for each image stands in for its category's. The timings, in ms, are those of
        the part of the batch that the image was computed in: encoder, decoder, anomaly_map,
        decision. Raises `UnknownCategory` before anything is computed, and `NonFiniteOutput`.
        """
        found = self.attempt(images, categories, image_sizes, calibrations)
        for one in found:
            if isinstance(one, NonFiniteOutput):
                raise one
        return [one for one in found if isinstance(one, Inspection)]

    def attempt(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
        calibrations: Sequence[Calibration] | None = None,
    ) -> list[Inspection | NonFiniteOutput]:
        """Inspect a batch like `inspect`; `NonFiniteOutput` stands in the place of its image."""
        if calibrations is None:
            calibrations = [self._calibration(category) for category in categories]
        frames = self._frames(images, image_sizes)
        asked = list(zip(categories, calibrations, image_sizes, strict=True))
        if not isinstance(self.engine, Divisible):
            return self._attempt(images, frames, asked)
        ends = np.cumsum([0, *(frame.inputs for frame in frames)])
        calls = [
            partial(self._attempt, images[ends[p.start] : ends[p.stop]], frames[p], asked[p])
            for p in self.engine.divide(len(asked))
        ]
        return list(chain.from_iterable(self.engine.side_by_side(calls)))

    def _attempt(
        self, images: UInt8[np.ndarray, "B 3 H W"], frames: Sequence[Frame], asked: Sequence[_Asked]
    ) -> list[Inspection | NonFiniteOutput]:
        """Inspect a part of a batch."""
        stopwatch = Stopwatch()
        categories = [category for category, _, _ in asked]
        maps = self._image_maps(images, categories, frames, stopwatch)
        found = [self._decide(values, *one) for values, one in zip(maps, asked, strict=True)]
        stopwatch.lap("decision")
        return [stopwatch.stamped(one) for one in found]

    def inspect_images(self, images: Sequence[Image.Image], category: Category) -> list[Inspection]:
        """Inspect decoded images of one category. Raises `ImageError` beside `inspect`'s."""
        turned = [self.preprocessing.upright(image) for image in images]
        batch = np.concatenate([self.preprocessing.to_arrays(image) for image in turned])
        sizes = [ImageSize(image.height, image.width) for image in turned]
        return self.inspect(batch, [category] * len(turned), sizes)

    def _calibration(self, category: Category) -> Calibration:
        if category not in self.calibrations:
            have = ", ".join(self.calibrations) or "none yet: run `mambaad calibrate`"
            raise UnknownCategory(f"{category!r} is not calibrated; have: {have}")
        return self.calibrations[category]

    def _frames(
        self, images: UInt8[np.ndarray, "B 3 H W"], image_sizes: Sequence[ImageSize]
    ) -> list[Frame]:
        """Return how each image lies in the inputs; raises `ImageError` if not all are theirs."""
        frames = [self.preprocessing.frame(size) for size in image_sizes]
        count = sum(frame.inputs for frame in frames)
        if count != len(images):
            raise ImageError(f"images of these sizes take {count} inputs, got {len(images)}")
        return frames

    def _image_maps(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        frames: Sequence[Frame],
        stopwatch: Stopwatch,
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Compute all inputs, and put the maps of each image together."""
        maps = self._standardised(self._compared(images, len(frames), stopwatch), categories)
        ends = np.cumsum([0, *(frame.inputs for frame in frames)])
        parts = zip(frames, ends[:-1], ends[1:], strict=True)
        return [frame.assemble(maps[start:end]) for frame, start, end in parts]

    def _compared(
        self, images: UInt8[np.ndarray, "B 3 H W"], count: int, stopwatch: Stopwatch
    ) -> Float32[np.ndarray, "B *what"]:
        """Compute inputs: those of `count` images at once, or tiles in batches that fit."""
        size = max(count, self.inputs_at_once)
        if len(images) <= size:
            return self.engine.compare(images, stopwatch.lap)
        starts = range(0, len(images), size)
        parts = [self.engine.compare(images[i : i + size], stopwatch.lap) for i in starts]
        return np.concatenate(parts)

    def _standardised(
        self, compared: Float32[np.ndarray, "B *what"], categories: Sequence[Category]
    ) -> Float32[np.ndarray, "B H W"]:
        """Measure inputs, each an image (see `__init__`), where the scoring uses baselines."""
        if not self.scoring.uses_baselines:
            return compared
        return standardised(compared, categories, self.baselines, self.preprocessing.image_size)

    def _decide(
        self,
        values: Float32[np.ndarray, "H W"],
        category: Category,
        calibration: Calibration,
        image_size: ImageSize,
    ) -> Inspection | NonFiniteOutput:
        if not np.isfinite(values).all():
            return NonFiniteOutput(_NOT_FINITE)
        raw_score = self.raw_score(values, category)
        values = self.areas.lowered(values, category, calibration.pixel_threshold)
        mapped = AnomalyMap(values, image_size, calibration.pixel_threshold)
        decision = calibration.decide(raw_score)
        regions = find_regions(mapped, calibration.pixel_score)
        if decision is not Decision.OK and not regions:
            regions = (peak_region(mapped, calibration.pixel_score),)
        return Inspection(
            category=category,
            decision=decision,
            score=calibration.score(raw_score),
            raw_score=raw_score,
            threshold=calibration.image_threshold,
            anomaly_map=mapped,
            regions=regions,
        )
