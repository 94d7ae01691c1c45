"""Images in, inspections out: the one inference path of trainer, command line and service."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from model.anomaly import Scoring, find_regions, peak_region
from model.baseline import Baseline
from model.calibration import Calibration
from model.engine import Engine
from model.errors import NonFiniteOutput, UnknownCategory
from model.inspection import AnomalyMap, Category, Decision, ImageSize, Inspection
from model.preprocess import Preprocessing, upright

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.network import MambaAD

_NOT_FINITE = (
    "the network answered NaN or infinity: the image was not inspected; "
    "check the checkpoint's weights"
)


class Detector:
    """Inspects batches of images with one network, for each category it is calibrated for.

    `baselines` are needed for every category where the scoring standardises.
    """

    def __init__(
        self,
        engine: Engine,
        preprocessing: Preprocessing,
        scoring: Scoring,
        calibrations: Mapping[Category, Calibration],
        baselines: Mapping[Category, Baseline] | None = None,
    ) -> None:
        self.engine = engine
        self.preprocessing = preprocessing
        self.scoring = scoring
        self.calibrations = dict(calibrations)
        self.baselines = dict(baselines or {})

    @classmethod
    def from_network(
        cls,
        network: "MambaAD",
        preprocessing: Preprocessing,
        scoring: Scoring,
        calibrations: Mapping[Category, Calibration],
        device: str = "cpu",
        backend: str = "auto",
        baselines: Mapping[Category, Baseline] | None = None,
    ) -> "Detector":
        """Compute with torch; the network is taken over, see `TorchEngine`."""
        from model.torch_engine import TorchEngine  # noqa: PLC0415 - only where torch is used

        engine = TorchEngine(network, preprocessing, scoring, device, backend)
        return cls(engine, preprocessing, scoring, calibrations, baselines)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: "Checkpoint", device: str = "cpu", backend: str = "auto"
    ) -> "Detector":
        """Build the detector that a loaded checkpoint describes."""
        return cls.from_network(
            checkpoint.network,
            checkpoint.preprocessing,
            checkpoint.scoring,
            checkpoint.calibrations,
            device,
            backend,
            checkpoint.baselines,
        )

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that can be decided."""
        return tuple(self.calibrations)

    def anomaly_maps(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category] | None = None
    ) -> Float32[np.ndarray, "B H W"]:
        """Return the raw anomaly map of each image, as its category's thresholds take it.

        Without `categories`, the network's own maps, not standardised. Raises `NonFiniteOutput`,
        and `UnknownCategory` for a category without the baseline that the scoring asks for.
        """
        maps = self.engine.maps(images, _Stopwatch().lap)
        if not np.isfinite(maps).all():
            raise NonFiniteOutput(_NOT_FINITE)
        return maps if categories is None else self._standardised(maps, categories)

    def raw_scores(
        self, images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category]
    ) -> list[float]:
        """Return each image's raw score, with or without thresholds; raises as `anomaly_maps`."""
        scores: list[float] = self.scoring.raw_scores(
            self.anomaly_maps(images, categories)
        ).tolist()
        return scores

    def inspect(
        self,
        images: UInt8[np.ndarray, "B 3 H W"],
        categories: Sequence[Category],
        image_sizes: Sequence[ImageSize],
        calibrations: Sequence[Calibration] | None = None,
    ) -> list[Inspection]:
        """Inspect a batch, each image by its category's threshold.

        `image_sizes` are those of the images before resizing, for regions and heatmaps; one of
        `calibrations` for each image stands in for its category's. The timings, in ms, are the
        whole batch's: encoder, decoder, anomaly_map, decision. Raises `UnknownCategory` before
        anything is computed, and `NonFiniteOutput`.
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
        stopwatch = _Stopwatch()
        maps = self._standardised(self.engine.maps(images, stopwatch.lap), categories)
        scores = self.scoring.raw_scores(maps).tolist()
        found = [
            _decide(*parts) if np.isfinite(parts[2]).all() else NonFiniteOutput(_NOT_FINITE)
            for parts in zip(categories, calibrations, maps, scores, image_sizes, strict=True)
        ]
        stopwatch.lap("decision")
        return [_with_timings(one, stopwatch.laps_ms) for one in found]

    def inspect_images(self, images: Sequence[Image.Image], category: Category) -> list[Inspection]:
        """Inspect decoded images of one category. Raises `ImageError` beside `inspect`'s."""
        turned = [upright(image) for image in images]
        batch = np.stack([self.preprocessing.to_array(image) for image in turned])
        sizes = [ImageSize(image.height, image.width) for image in turned]
        return self.inspect(batch, [category] * len(turned), sizes)

    def _calibration(self, category: Category) -> Calibration:
        if category not in self.calibrations:
            have = ", ".join(self.calibrations) or "none yet: run `mambaad calibrate`"
            raise UnknownCategory(f"{category!r} is not calibrated; have: {have}")
        return self.calibrations[category]

    def _standardised(
        self, maps: Float32[np.ndarray, "B H W"], categories: Sequence[Category]
    ) -> Float32[np.ndarray, "B H W"]:
        if not self.scoring.standardise:
            return maps
        missing = sorted(set(categories) - set(self.baselines))
        if missing:
            raise UnknownCategory(f"no baseline for {', '.join(missing)}; train with --standardise")
        return np.stack(
            [self.baselines[c].standardise(m) for c, m in zip(categories, maps, strict=True)]
        )


class _Stopwatch:
    """Splits the time since it was made into named laps, in ms."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps_ms[name] = (now - self._last) * 1e3
        self._last = now


def _decide(
    category: Category,
    calibration: Calibration,
    values: Float32[np.ndarray, "H W"],
    raw_score: float,
    image_size: ImageSize,
) -> Inspection:
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


def _with_timings(
    inspection: Inspection | NonFiniteOutput, timings_ms: Mapping[str, float]
) -> Inspection | NonFiniteOutput:
    if isinstance(inspection, NonFiniteOutput):
        return inspection
    return replace(inspection, timings_ms=dict(timings_ms))
