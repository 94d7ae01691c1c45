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
from model.images.framing import Frame, check_alignment
from model.images.preprocess import Preprocessing
from model.inference.engine import Divisible, Engine, Preparable, Remembering
from model.inference.stopwatch import Stopwatch
from model.inspection import AnomalyMap, Category, Decision, ImageSize, Inspection
from model.scoring.baselines import AnyBaseline, standardised
from model.scoring.scores import Scoring, find_regions, peak_region

_TILES_AT_ONCE = 16
_NOT_FINITE = (
    "the network returned NaN or infinity, so the image was not inspected; "
    "check the checkpoint's weights"
)
_Request: TypeAlias = tuple[Category, Calibration, ImageSize]


class Detector:
    """Inspects batches of images with one network, for each category it is calibrated for.

    `baselines` must have every category if the scoring uses them; `areas` limit the pixels that
    count in a category's images. Images are passed as the inputs from `Preprocessing.to_arrays`,
    concatenated; a tiled image has several, depending on its size. At most `inputs_at_once` inputs,
    or one for each image if that is more, are computed at a time.
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
        check_alignment(preprocessing.resize, scoring.needs_alignment)
        self.engine = engine
        self.preprocessing = preprocessing
        self.scoring = scoring
        self.calibrations = dict(calibrations)
        self.baselines = dict(baselines or {})
        self.areas = Areas(areas or {})
        self.inputs_at_once = _TILES_AT_ONCE

    def preparation(self, most: int) -> Sequence[Callable[[], None]]:
        """Return steps that make later batches fast; see `Preparable`."""
        return self.engine.preparation(most) if isinstance(self.engine, Preparable) else ()

    @property
    def categories(self) -> tuple[Category, ...]:
        """The calibrated categories."""
        return tuple(self.calibrations)

    def anomaly_maps(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category] | None = None
    ) -> Float32[np.ndarray, "B H W"]:
        """Return the raw anomaly map of each input, standardised by its category's baseline.

        `categories` has one for each input. Without them, the maps are not standardised. For whole
        images see `image_maps`. Raises `NonFiniteOutput`, and `UnknownCategory` for a category
        whose baseline is missing.
        """
        compared = self.compare(images)
        if categories is None:
            if self.scoring.measures_differences or self.scoring.memory:
                raise UnknownCategory(
                    "distance 'mahalanobis' and a memory have no maps without a category; pass "
                    "`categories`"
                )
            return compared
        return self._standardised(compared, categories)

    def compare(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B *what"]:
        """Return the engine's output for inputs; see `Engine`. Raises `NonFiniteOutput`."""
        compared = self.engine.compare(images, Stopwatch().lap)
        if not np.isfinite(compared).all():
            raise NonFiniteOutput(_NOT_FINITE)
        return compared

    def patches(self, images: UInt8[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B F"]:
        """Return rows that end with the inputs' patches for a memory; raises like `compare`.

        What precedes them depends on the engine: most compute the decoder, too.
        """
        if not isinstance(self.engine, Remembering):
            return self.compare(images)
        patches = self.engine.patches(images)
        if not np.isfinite(patches).all():
            raise NonFiniteOutput(_NOT_FINITE)
        return patches

    def raw_scores(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category]
    ) -> list[float]:
        """Return each input's raw score; needs no thresholds. Raises like `anomaly_maps`."""
        maps = self.anomaly_maps(images, categories)
        return [float(score) for score in self.scoring.raw_scores(maps)]

    def image_maps(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Return the map of each image, on the scale of its category's thresholds.

        It spans the image edge to edge. Pixels outside the category's area get the value of the
        lowest pixel inside. Raises like `anomaly_maps`.
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

        `image_sizes` are the sizes before resizing, for regions and heatmaps. `calibrations`, one
        for each image, replace those of the categories. The timings, in ms, are those of the
        image's part of the batch: encoder, decoder, anomaly_map, decision. Raises
        `UnknownCategory` before anything is computed, and `NonFiniteOutput`.
        """
        results = self.attempt(images, categories, image_sizes, calibrations)
        for result in results:
            if isinstance(result, NonFiniteOutput):
                raise result
        return [result for result in results if isinstance(result, Inspection)]

    def attempt(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
        calibrations: Sequence[Calibration] | None = None,
    ) -> list[Inspection | NonFiniteOutput]:
        """Like `inspect`, but returns `NonFiniteOutput` in the place of its image."""
        if calibrations is None:
            calibrations = [self._calibration(category) for category in categories]
        frames = self._frames(images, image_sizes)
        requests = list(zip(categories, calibrations, image_sizes, strict=True))
        if not isinstance(self.engine, Divisible):
            return self._attempt(images, frames, requests)
        ends = np.cumsum([0, *(frame.inputs for frame in frames)])
        calls = [
            partial(self._attempt, images[ends[p.start] : ends[p.stop]], frames[p], requests[p])
            for p in self.engine.divide(len(requests))
        ]
        return list(chain.from_iterable(self.engine.side_by_side(calls)))

    def _attempt(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        frames: Sequence[Frame],
        requests: Sequence[_Request],
    ) -> list[Inspection | NonFiniteOutput]:
        stopwatch = Stopwatch()
        categories = [category for category, _, _ in requests]
        maps = self._image_maps(images, categories, frames, stopwatch)
        pairs = zip(maps, requests, strict=True)
        results = [self._decide(values, *request) for values, request in pairs]
        stopwatch.lap("decision")
        return [stopwatch.stamped(result) for result in results]

    def inspect_images(self, images: Sequence[Image.Image], category: Category) -> list[Inspection]:
        """Inspect decoded images of one category. Raises like `inspect`, and `ImageError`."""
        turned = [self.preprocessing.upright(image) for image in images]
        batch = np.concatenate([self.preprocessing.to_arrays(image) for image in turned])
        sizes = [ImageSize(image.height, image.width) for image in turned]
        return self.inspect(batch, [category] * len(turned), sizes)

    def _calibration(self, category: Category) -> Calibration:
        if category not in self.calibrations:
            calibrated = ", ".join(self.calibrations) or "none yet: run `mambaad calibrate`"
            raise UnknownCategory(f"{category!r} is not calibrated; have: {calibrated}")
        return self.calibrations[category]

    def _frames(
        self, images: UInt8[np.ndarray, "B 3 H W"], image_sizes: Sequence[ImageSize]
    ) -> list[Frame]:
        """Return each image's place in the inputs. Raises `ImageError` if their number differs."""
        frames = [self.preprocessing.frame(size) for size in image_sizes]
        count = sum(frame.inputs for frame in frames)
        if count != len(images):
            raise ImageError(f"images of these sizes need {count} inputs, got {len(images)}")
        return frames

    def _image_maps(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        frames: Sequence[Frame],
        stopwatch: Stopwatch,
    ) -> list[Float32[np.ndarray, "h w"]]:
        compared = self._compared(images, len(frames), stopwatch)
        pairs = zip(categories, frames, strict=True)
        of_inputs = [category for category, frame in pairs for _ in range(frame.inputs)]
        maps = self._standardised(compared, of_inputs)
        ends = np.cumsum([0, *(frame.inputs for frame in frames)])
        parts = zip(frames, ends[:-1], ends[1:], strict=True)
        return [frame.assemble(maps[start:end]) for frame, start, end in parts]

    def _compared(
        self, images: UInt8[np.ndarray, "B 3 H W"], count: int, stopwatch: Stopwatch
    ) -> Float32[np.ndarray, "B *what"]:
        """Compute the inputs of `count` images, in several batches if tiles make them too many."""
        size = max(count, self.inputs_at_once)
        if len(images) <= size:
            return self.engine.compare(images, stopwatch.lap)
        starts = range(0, len(images), size)
        parts = [self.engine.compare(images[i : i + size], stopwatch.lap) for i in starts]
        return np.concatenate(parts)

    def _standardised(
        self, compared: Float32[np.ndarray, "B *what"], categories: Sequence[Category]
    ) -> Float32[np.ndarray, "B H W"]:
        """Standardise each input by its category's baseline, if the scoring uses baselines."""
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
