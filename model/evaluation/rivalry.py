"""Compare the checkpoint with PaDiM and PatchCore on the same images and features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.console import Group
from rich.text import Text
from torch import Tensor

from model.dataset import Sample, inspection_batches, read_mask
from model.errors import DatasetError
from model.evaluation.evaluating import group_samples, progress_bar
from model.evaluation.measuring import (
    columns,
    image_metrics,
    pixel_metrics,
    seed_of,
    with_pixel_truth,
)
from model.evaluation.results import CategoryMetrics, Evaluation, ImageRecord, Interval, percent
from model.evaluation.timing import inspection_ms, timed_ms, timed_samples
from model.images.framing import resampled
from model.inference.detector import Detector
from model.inspection import Category
from model.metrics import MapSpill, Ranking, measure
from model.metrics.resampling import RESAMPLINGS, draw, interval
from model.rivals import SCORES, Features, Padim, PatchCore, score_maps, spread
from model.tables import NamedRows

CALIBRATED = "calibrated"
OURS = "MambaAD"
MEAN = "mean"
METHODS = (OURS, "PaDiM", "PatchCore")
SCORE_NAMES = {CALIBRATED: "as calibrated", **SCORES}
_FIT_BATCH = 32
_TEST_BATCH = 8

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """One method with one image score. Pixel metrics depend only on the method's map.

    `ahead` is the checkpoint's calibrated image AUROC minus this one's; `ahead_interval` contains
    95 % of its paired resamplings.
    """

    method: str
    score: str
    metrics: Mapping[str, float | None]
    auroc_replicates: np.ndarray | None = field(default=None, compare=False, repr=False)
    ahead: float | None = None
    ahead_interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the resamplings as JSON values."""
        pair = None if self.ahead_interval is None else list(self.ahead_interval)
        about = {"method": self.method, "score": self.score, **self.metrics}
        return {**about, "ahead": self.ahead, "ahead_interval": pair}


@dataclass(frozen=True, slots=True)
class Rivalry:
    """Every method with every score, per category.

    `times_ms` are each method's milliseconds for an image of each category on `device`; empty if
    they were not measured.
    """

    categories: Mapping[Category, tuple[Standing, ...]]
    times_ms: Mapping[Category, Mapping[str, float]] = field(default_factory=dict)
    device: str = ""

    @property
    def mean(self) -> tuple[Standing, ...]:
        """The means over the categories, for metrics that all categories have."""
        rows = zip(*self.categories.values(), strict=True)
        means = [_mean(row) for row in rows]
        return tuple(_behind(mean, means[0]) for mean in means)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        rows = {c: [row.to_dict() for row in rows] for c, rows in self.categories.items()}
        times = {"device": self.device, "image_ms": {c: dict(t) for c, t in self.times_ms.items()}}
        return {"categories": rows, "mean": [row.to_dict() for row in self.mean], "times": times}

    def ms(self, category: Category, method: str) -> float | None:
        """Return a method's time for an image of a category, or of all ("mean")."""
        chosen = self.times_ms.values() if category == MEAN else [self.times_ms.get(category, {})]
        times = [by_method[method] for by_method in chosen if method in by_method]
        return sum(times) / len(times) if times else None

    def table(self) -> Group:
        """Return the metrics in percent, with one row per category, method and score.

        Pixel metrics and the time are in the first row of a method, because they have one value.
        """
        images = NamedRows(
            "All methods on the same features, in percent",
            "\nMethod, image score",
            ["Image\nAUROC", "\nAhead", "Pixel\nAUROC", "AUPRO\n30 %", "Image\nms"],
        )
        parts = dict(self.categories)
        if len(parts) > 1:
            parts[MEAN] = self.mean
        for number, (category, rows) in enumerate(parts.items()):
            images.add(category, style="underline", section=number > 0)
            methods: set[str] = set()
            for row in rows:
                images.add(f"{row.method}, {SCORE_NAMES[row.score]}", [
                    percent(row.metrics["image_auroc"]),
                    "-" if row.ahead is None else f"{100 * row.ahead:+.1f}",
                    *(["", "", ""] if row.method in methods else self._once(category, row)),
                ])  # fmt: skip
                methods.add(row.method)
        times = f"Milliseconds for one image on {self.device}: the median of single images."
        return Group(images, *([Text(times)] if self.times_ms else []))

    def _once(self, category: Category, row: Standing) -> list[str]:
        ms = self.ms(category, row.method)
        pixels = [percent(row.metrics.get(name)) for name in ("pixel_auroc", "aupro")]
        return [*pixels, "-" if ms is None else f"{ms:.1f}"]


def compare_with_rivals(
    features: Features,
    train: Sequence[Sample],
    evaluation: Evaluation,
    progress: bool = False,
    resamplings: int = RESAMPLINGS,
    detector: Detector | None = None,
    device: str = "",
) -> Rivalry:
    """Fit the rivals on good images and test them on the evaluated images.

    With the checkpoint's `detector`, the time of an image is measured for all methods, on the
    described `device`. Raises `DatasetError` for a category without training images.
    """
    records: dict[Category, list[ImageRecord]] = {
        category: [] for category in evaluation.categories
    }
    for record in evaluation.records:
        records[record.sample.category].append(record)
    fitted_on = group_samples(train, 1)
    missing = [category for category in records if category not in fitted_on]
    if missing:
        raise DatasetError(f"no good training images of {', '.join(missing)} for the baselines")
    # Both rivals read each training image; choosing patches takes as long as about 100 images.
    steps = sum(2 * len(fitted_on[c]) + 100 + len(tested) for c, tested in records.items())
    standings, times = {}, {}
    with progress_bar(progress) as bar:
        task = bar.add_task("Baselines", total=steps)
        for category, tested in records.items():
            contest = _Contest(features, fitted_on[category], lambda n: bar.advance(task, n))
            metrics = evaluation.categories[category]
            standings[category] = contest.standings(tested, metrics, resamplings)
            if detector is not None:
                samples = [record.sample for record in tested]
                ours = {OURS: inspection_ms(detector, samples)}
                times[category] = ours | contest.times_ms(samples)
    return Rivalry(standings, times, device if times else "")


class _Contest:
    """The fitted rivals of one category."""

    def __init__(self, features: Features, train: Sequence[Sample], advance: Advance) -> None:
        self._features = features
        self._advance = advance
        self._rivals: dict[str, Padim | PatchCore] = {
            "PaDiM": Padim.fit(self._scales(train)),
            "PatchCore": PatchCore.fit(self._scales(train), len(train), advance=advance),
        }

    def standings(
        self, records: Sequence[ImageRecord], metrics: CategoryMetrics, resamplings: int
    ) -> tuple[Standing, ...]:
        """Score the records' images with every rival, and compute the same metrics for all."""
        samples = [record.sample for record in records]
        scores: dict[tuple[str, str], np.ndarray] = {
            (OURS, CALIBRATED): np.array([record.raw_score for record in records])
        }
        for name in SCORES:
            scores[OURS, name] = np.array([record.map_scores[name] for record in records])
        pixels = {OURS: {name: getattr(metrics, name) for name in pixel_metrics(None)}}
        tested = self._test(samples, pixels)
        for method in METHODS[1:]:
            for name in SCORES:
                scores[method, name] = tested[method][name]
        return _rank(columns(records)[0], scores, pixels, resamplings, seed_of(samples))

    def times_ms(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return each rival's milliseconds for one image, with the encoder's pass."""
        inputs = [
            next(inspection_batches([sample], self._features.preprocessing, 1)).images
            for sample in timed_samples(samples)
        ]
        return {
            method: timed_ms([partial(self._score, rival, images) for images in inputs])
            for method, rival in self._rivals.items()
        }

    def _score(self, rival: Padim | PatchCore, images: UInt8[np.ndarray, "B 3 H W"]) -> object:
        distances = rival.distances(self._features.scales(images))
        return score_maps(spread(distances, self._features.preprocessing.image_size))

    def _test(
        self, samples: Sequence[Sample], pixels: dict[str, dict[str, float | None]]
    ) -> dict[str, dict[str, np.ndarray]]:
        wanted = set(with_pixel_truth(samples))
        parts: dict[str, dict[str, list[np.ndarray]]] = {
            method: {name: [] for name in SCORES} for method in self._rivals
        }
        with ExitStack() as stack:
            spills = {method: stack.enter_context(MapSpill()) for method in self._rivals}
            for place, maps in enumerate(self._maps(samples)):
                for method, values in maps.items():
                    for name, score in score_maps(values[None]).items():
                        parts[method][name].append(score)
                    if place in wanted:
                        spills[method].add(values, read_mask(samples[place], values.shape))
            for method, spill in spills.items():
                pixels[method] = pixel_metrics(measure(spill))
        return {m: {n: np.concatenate(v) for n, v in p.items()} for m, p in parts.items()}

    def _maps(self, samples: Sequence[Sample]) -> Iterator[dict[str, np.ndarray]]:
        """Yield every rival's map of each image, at the metrics' resolution."""
        preprocessing = self._features.preprocessing
        for batch in inspection_batches(samples, preprocessing, _TEST_BATCH):
            scales = self._features.scales(batch.images)
            inputs = {
                method: spread(rival.distances(scales), preprocessing.image_size)
                for method, rival in self._rivals.items()
            }
            start = 0
            for size in batch.image_sizes:
                frame = preprocessing.frame(size)
                tiles = slice(start, start + frame.inputs)
                yield {
                    method: resampled(frame.assemble(maps[tiles]), preprocessing.image_size)
                    for method, maps in inputs.items()
                }
                start += frame.inputs
                self._advance(1)

    def _scales(self, samples: Sequence[Sample]) -> Iterator[list[Tensor]]:
        for batch in inspection_batches(samples, self._features.preprocessing, _FIT_BATCH):
            yield self._features.scales(batch.images)
            self._advance(len(batch.samples))


def _rank(
    defective: np.ndarray,
    scores: Mapping[tuple[str, str], np.ndarray],
    pixels: Mapping[str, Mapping[str, float | None]],
    resamplings: int,
    seed: int,
) -> tuple[Standing, ...]:
    both = bool(defective.any()) and not bool(defective.all())
    weights = draw(defective, resamplings, seed)
    standings: list[Standing] = []
    for (method, score), values in scores.items():
        ranks = image_metrics(defective, values.astype(np.float64))
        replicates = Ranking(defective, values).ranks(weights).auroc if both else None
        standings.append(Standing(method, score, {**ranks, **pixels[method]}, replicates))
    return tuple(_behind(standing, standings[0]) for standing in standings)


def _behind(standing: Standing, first: Standing) -> Standing:
    """Return a standing with its distance to the first, the calibrated checkpoint."""
    auroc, best = standing.metrics["image_auroc"], first.metrics["image_auroc"]
    replicates, others = standing.auroc_replicates, first.auroc_replicates
    if standing is first or auroc is None or best is None or replicates is None or others is None:
        return standing
    pair = interval(others - replicates)
    return replace(standing, ahead=best - auroc, ahead_interval=pair)


def _mean(rows: Sequence[Standing]) -> Standing:
    """Average one method and score over categories, whose resamplings are independent."""
    means: dict[str, float | None] = {}
    for name in rows[0].metrics:
        values = [row.metrics[name] for row in rows]
        have = [value for value in values if value is not None]
        means[name] = sum(have) / len(have) if have and len(have) == len(values) else None
    drawn = [row.auroc_replicates for row in rows if row.auroc_replicates is not None]
    replicates = np.mean(drawn, axis=0) if len(drawn) == len(rows) else None
    return Standing(rows[0].method, rows[0].score, means, replicates)
