"""The results of an evaluation: per image, category and kind of defect, and on average."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from model.dataset import Sample
from model.inspection import Category, Decision
from model.metrics.resampling import Replicates, interval
from model.tables import NamedRows

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupro_5", "aupimo")
PIMO_RECALL = "pimo_recall"
RATES = ("false_reject_rate", "escape_rate")
METRICS = (*IMAGE_METRICS, *PIXEL_METRICS, PIMO_RECALL, *RATES)

HEADINGS = {
    "image_auroc": "Image\nAUROC",
    "image_ap": "\nAP",
    "image_f1_max": "\nF1-max",
    "pixel_auroc": "Pixel\nAUROC",
    "pixel_ap": "\nAP",
    "pixel_f1_max": "\nF1-max",
    "aupro": "AUPRO\n30 %",
    "aupro_5": "\n5 %",
    "aupimo": "\nAUPIMO",
    "false_reject_rate": "False\nrejects",
    "escape_rate": "\nEscapes",
}

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One test image and its inspection.

    `map_scores` are alternative image scores of its map (`model.rivals.scores`); `aupimo` and
    `recall` are set for a defect with a mask, and so is `area`, the marked share of its image.
    `map_median` is the median of its map's raw values.
    """

    sample: Sample
    raw_score: float
    score: float
    threshold: float
    decision: Decision
    map_scores: Mapping[str, float] = field(default_factory=dict)
    aupimo: float | None = None
    recall: float | None = None
    area: float | None = None
    map_median: float | None = None

    @property
    def is_false_reject(self) -> bool:
        """Whether a good part was decided NG."""
        return self.sample.is_good and self.decision is Decision.NG

    @property
    def is_escape(self) -> bool:
        """Whether a defective part was decided OK: neither NG nor REVIEW."""
        return not self.sample.is_good and self.decision is Decision.OK


@dataclass(frozen=True, slots=True)
class DefectMetrics:
    """One kind of defect against the good images; None if a metric cannot be computed."""

    images: int
    masked: int
    image_auroc: float | None
    image_ap: float | None
    escape_rate: float | None
    pixel_auroc: float | None
    aupro: float | None
    aupro_5: float | None
    aupimo: float | None


@dataclass(frozen=True, slots=True)
class CategoryMetrics:
    """One category's results, each 0 to 1; None if a metric cannot be computed.

    Pixel metrics use the good images and the `masked` ones (defective images with a mask), at the
    map's resolution. `aupro_5` stops at a false-positive rate of 5 % instead of 30 %; `aupimo` and
    `pimo_recall` are means over images, at rates over good images only. `false_reject_rate` is the
    share of good images decided NG, `escape_rate` the share of defective images decided OK.
    `intervals` contain 95 % of the metrics' resamplings (`model.metrics`); those of rates are
    Wilson's.
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
    aupro_5: float | None
    aupimo: float | None
    pimo_recall: float | None
    false_reject_rate: float | None
    escape_rate: float | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    defects: Mapping[str, DefectMetrics] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = asdict(self)
        values["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        return values


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of every category, their mean, and the image records.

    `replicates` are each category's resampled metrics, the source of `intervals`.
    """

    categories: dict[Category, CategoryMetrics]
    records: tuple[ImageRecord, ...] = ()
    replicates: Mapping[Category, Replicates] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def mean(self) -> dict[str, float | None]:
        """Each metric's mean over the categories that have it."""
        return {name: self._mean(name) for name in METRICS}

    @property
    def mean_replicates(self) -> dict[str, np.ndarray]:
        """The mean's resamplings: the average of the categories' independent resamplings."""
        means = {}
        for name in METRICS:
            have = [drawn[name] for drawn in self.replicates.values() if name in drawn]
            if have:
                means[name] = np.mean(have, axis=0)
        return means

    @property
    def mean_intervals(self) -> dict[str, Interval]:
        """The intervals of the mean metrics; rates have none."""
        return {k: interval(v) for k, v in self.mean_replicates.items() if k not in RATES}

    @property
    def has_pixels(self) -> bool:
        """Whether any defect has a mask."""
        return any(metrics.masked for metrics in self.categories.values())

    @property
    def gaps(self) -> list[str]:
        """What was not measured, because the test has no such images, a sentence each."""
        texts = []
        for category, metrics in self.categories.items():
            if not metrics.defective:
                texts.append(
                    f"{category}: no defective test images, so only false rejects were measured: "
                    f"put some into {category}/test/<kind of defect>"
                )
            elif not metrics.good:
                texts.append(
                    f"{category}: no good test images, so only escapes were measured: put some "
                    f"into {category}/test/good"
                )
            elif not metrics.masked:
                texts.append(f"{category}: no masks, so the place of defects was not measured")
        return texts

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the image records as JSON values."""
        categories = {category: metrics.to_dict() for category, metrics in self.categories.items()}
        intervals = {name: list(pair) for name, pair in self.mean_intervals.items()}
        return {"categories": categories, "mean": self.mean, "mean_intervals": intervals}

    def table(self, remarks: Mapping[tuple[Category, str], Sequence[str]] | None = None) -> Group:
        """Return tables in percent, with a row per category and the mean: images, then pixels.

        A metric with `remarks` gets an asterisk; the remarks follow below.
        """
        texts_by_metric = remarks or {}
        images = self._table(
            "Evaluation, in percent",
            ("good", "defective"),
            (*IMAGE_METRICS, *RATES),
            set(texts_by_metric),
        )
        pixels = self._table("Pixels, in percent", ("masked",), PIXEL_METRICS, set(texts_by_metric))
        notes = [
            Text(f"* {text}", "bold red") for texts in texts_by_metric.values() for text in texts
        ]
        return Group(images, *([pixels] if self.has_pixels else []), *notes)

    def _table(
        self,
        title: str,
        counts: Sequence[str],
        names: Sequence[str],
        marked: set[tuple[Category, str]],
    ) -> NamedRows:
        heads = [f"{'' if number else 'Images'}\n{name}" for number, name in enumerate(counts)]
        table = NamedRows(title, "\nCategory", [*heads, *(HEADINGS[name] for name in names)])
        for category, metrics in self.categories.items():
            numbers = [str(getattr(metrics, name)) for name in counts]
            cells = [
                percent(getattr(metrics, name)) + ("*" if (category, name) in marked else "")
                for name in names
            ]
            table.add(category, [*numbers, *cells])
        every = self.categories.values()
        numbers = [str(sum(getattr(metrics, name) for metrics in every)) for name in counts]
        cells = [percent(self.mean[name]) for name in names]
        table.add("mean", [*numbers, *cells], "bold", section=True)
        return table

    def _mean(self, name: str) -> float | None:
        by_category = [getattr(metrics, name) for metrics in self.categories.values()]
        values = [value for value in by_category if value is not None]
        return sum(values) / len(values) if values else None


def percent(value: float | None) -> str:
    """Return a share in percent with one decimal, a dash for None."""
    return "-" if value is None else f"{100 * value:.1f}"
