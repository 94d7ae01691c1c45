"""How good a checkpoint is, on test images that neither training nor calibration has seen.

Metrics of ranking (AUROC, AP, F1-max, AUPRO) need no threshold; the false-reject and escape rates
are what the calibrated threshold, left as it is, does to these images.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from model import metrics
from model.dataset import ImageDataset, Sample, read_mask
from model.detector import Detector
from model.errors import DatasetError
from model.inspection import Category, Decision, ImageSize, Inspection

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
RATES = ("false_reject_rate", "escape_rate")

_HEADINGS = {
    "image_auroc": "Image\nAUROC",
    "image_ap": "\nAP",
    "image_f1_max": "\nF1-max",
    "pixel_auroc": "Pixel\nAUROC",
    "pixel_ap": "\nAP",
    "pixel_f1_max": "\nF1-max",
    "aupro": "\nAUPRO",
    "false_reject_rate": "False\nrejects",
    "escape_rate": "\nEscapes",
}


@dataclass(frozen=True, slots=True)
class CategoryMetrics:
    """One category's results, each 0 to 1, None where the images do not allow it.

    Pixel metrics are over the good images and the `masked` ones, the defective images with a mask,
    at the resolution of the map. `false_reject_rate` is the share of good images decided NG,
    `escape_rate` that of defective images decided OK.
    """

    good: int
    defective: int
    masked: int
    image_auroc: float | None
    image_ap: float | None
    image_f1_max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pixel_f1_max: float | None
    aupro: float | None
    false_reject_rate: float | None
    escape_rate: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of every category, and their mean."""

    categories: dict[Category, CategoryMetrics]

    @property
    def mean(self) -> dict[str, float | None]:
        """Each metric's mean over the categories that have it."""
        return {name: self._mean(name) for name in (*IMAGE_METRICS, *PIXEL_METRICS, *RATES)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, None for what does not exist."""
        categories = {category: asdict(found) for category, found in self.categories.items()}
        return {"categories": categories, "mean": self.mean}

    def table(self) -> Table:
        """Return a table in percent, a row per category and the mean."""
        pixels = any(found.masked for found in self.categories.values())
        shown = (*IMAGE_METRICS, *(PIXEL_METRICS if pixels else ()), *RATES)
        table = Table(title="Evaluation, in percent")
        table.add_column("\nCategory")
        for heading in ("Images\ngood", "\ndefective", *(_HEADINGS[name] for name in shown)):
            table.add_column(heading, justify="right")
        for category, found in self.categories.items():
            cells = [_percent(getattr(found, name)) for name in shown]
            table.add_row(category, str(found.good), str(found.defective), *cells)
        table.add_section()
        mean = self.mean
        good = sum(found.good for found in self.categories.values())
        defective = sum(found.defective for found in self.categories.values())
        cells = [_percent(mean[name]) for name in shown]
        table.add_row("mean", str(good), str(defective), *cells, style="bold")
        return table

    def _mean(self, name: str) -> float | None:
        found = [getattr(category, name) for category in self.categories.values()]
        values = [value for value in found if value is not None]
        return sum(values) / len(values) if values else None


def evaluate(
    detector: Detector, samples: Sequence[Sample], batch_size: int = 8, progress: bool = False
) -> Evaluation:
    """Inspect the samples and compare with what they are; thresholds stay as calibrated.

    `progress` draws a bar on stderr. Raises `DatasetError` for no samples or a mask that does not
    fit, `ImageError` for an unreadable image, `UnknownCategory` for a category without calibration
    and `NonFiniteOutput` for a network that answers NaN.
    """
    if not samples:
        raise DatasetError("no test images: expected <category>/test/<defect>/*.png")
    if batch_size < 1:
        raise DatasetError(f"batch_size must be at least 1, got {batch_size}")
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.category].append(sample)
    with _progress_bar(progress) as bar:
        task = bar.add_task("Inspecting", total=len(samples))
        return Evaluation(
            {
                category: _evaluate_category(
                    detector, groups[category], batch_size, lambda: bar.advance(task)
                )
                for category in sorted(groups)
            }
        )


def _evaluate_category(
    detector: Detector, samples: Sequence[Sample], batch_size: int, advance: Callable[[], None]
) -> CategoryMetrics:
    size = detector.preprocessing.image_size
    defective = np.array([not sample.is_good for sample in samples])
    masked = _with_pixel_truth(samples)
    slots = {index: slot for slot, index in enumerate(masked)}
    maps = np.empty((len(masked), *size), dtype=np.float32)
    raw_scores = np.empty(len(samples))
    rejected = np.empty(len(samples), dtype=bool)
    for index, inspection in enumerate(_inspect(detector, samples, batch_size)):
        raw_scores[index] = inspection.raw_score
        rejected[index] = inspection.decision is Decision.NG
        if index in slots:
            maps[slots[index]] = inspection.anomaly_map.values
        advance()
    masks = np.array([read_mask(samples[index], size) for index in masked], dtype=bool)
    masks = masks.reshape(maps.shape)
    return CategoryMetrics(
        good=int(np.sum(~defective)),
        defective=int(np.sum(defective)),
        masked=sum(not samples[index].is_good for index in masked),
        image_auroc=metrics.auroc(defective, raw_scores),
        image_ap=metrics.average_precision(defective, raw_scores),
        image_f1_max=metrics.f1_max(defective, raw_scores),
        pixel_auroc=metrics.auroc(masks, maps),
        pixel_ap=metrics.average_precision(masks, maps),
        pixel_f1_max=metrics.f1_max(masks, maps),
        aupro=metrics.aupro(masks, maps),
        false_reject_rate=_share(rejected[~defective]),
        escape_rate=_share(~rejected[defective]),
    )


def _inspect(
    detector: Detector, samples: Sequence[Sample], batch_size: int
) -> Iterator[Inspection]:
    images = ImageDataset(samples, detector.preprocessing, cache_bytes=0)
    # Regions are not evaluated, so the map's own geometry will do for them.
    size = ImageSize(*detector.preprocessing.image_size)
    for start in range(0, len(samples), batch_size):
        batch = [
            images[index][0].numpy()
            for index in range(start, min(start + batch_size, len(samples)))
        ]
        categories = [sample.category for sample in samples[start : start + batch_size]]
        yield from detector.inspect(np.stack(batch), categories, [size] * len(batch))


def _with_pixel_truth(samples: Sequence[Sample]) -> list[int]:
    """Return the indices for pixel metrics: the good and the masked, if any is masked."""
    if not any(sample.mask for sample in samples):
        return []
    return [n for n, sample in enumerate(samples) if sample.is_good or sample.mask]


def _progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )


def _share(flags: np.ndarray) -> float | None:
    return float(np.mean(flags)) if flags.size else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
