"""The figures of MambaAD's paper on three data sets, and their comparison with an evaluation.

Source: He et al., "MambaAD", NeurIPS 2024, the tables of means for multi-class detection: one
network for all categories of a set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.dataset import Dataset
from model.errors import DatasetError
from model.evaluation.results import HEADINGS, IMAGE_METRICS, Evaluation, percent
from model.tables import NamedRows

PAPER_METRICS = (*IMAGE_METRICS, "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")

_MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush "
    "transistor wood zipper"
)
_VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"
_REAL_IAD = (
    "audiojack bottle_cap button_battery end_cap eraser fire_hood mint mounts pcb phone_battery "
    "plastic_nut plastic_plug porcelain_doll regulator rolled_strip_base sim_card_set switch tape "
    "terminalblock toothbrush toy toy_brick transistor1 u_block usb usb_adaptor vcpill "
    "wooden_beads woodstick zipper"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One data set of the paper and its means over the categories.

    `images` counts training, good test and defective test images; `figures` are the seven
    `PAPER_METRICS` in percent.
    """

    title: str
    layout: str
    categories: tuple[str, ...]
    images: tuple[int, int, int]
    figures: tuple[float, float, float, float, float, float, float]

    @property
    def mean(self) -> dict[str, float]:
        """The paper's means by metric, 0 to 1."""
        return {k: v / 100 for k, v in zip(PAPER_METRICS, self.figures, strict=True)}

    def departures(self, dataset: Dataset) -> list[str]:
        """List differences between the data and the paper's, by names and counts."""
        foreign = [name for name in dataset.categories if name not in self.categories]
        if foreign:
            return [
                f"This is not {self.title}, which has no {', '.join(foreign)}: the figures cannot "
                "be compared with the paper's."
            ]
        if len(dataset.categories) < len(self.categories):
            return [
                f"{len(dataset.categories)} of the {len(self.categories)} categories of "
                f"{self.title}: the paper's mean is over all of them."
            ]
        good = sum(sample.is_good for sample in dataset.test)
        counts = (len(dataset.train), good, len(dataset.test) - good)
        if counts == self.images:
            return []
        return [f"Not the images of the paper: {_counted(counts)}; it has {_counted(self.images)}."]


PUBLISHED = {
    "mvtec": Published(
        title="MVTec-AD",
        layout="mvtec",
        categories=tuple(_MVTEC.split()),
        images=(3629, 467, 1258),
        figures=(98.6, 99.6, 97.8, 97.7, 56.3, 59.2, 93.1),
    ),
    "visa": Published(
        title="VisA",
        layout="visa",
        categories=tuple(_VISA.split()),
        images=(8659, 962, 1200),
        figures=(94.3, 94.5, 89.4, 98.5, 39.4, 44.0, 91.0),
    ),
    "real-iad": Published(
        title="Real-IAD",
        layout="real-iad",
        categories=tuple(_REAL_IAD.split()),
        images=(36465, 63256, 51329),
        figures=(86.3, 84.6, 77.0, 98.5, 33.0, 38.7, 90.5),
    ),
}
"""The data sets by their names on the command line."""


def published(name: str) -> Published:
    """Return the data set; raises `DatasetError` for an unknown name."""
    if name not in PUBLISHED:
        raise DatasetError(
            f"expected a data set of the paper ({', '.join(PUBLISHED)}), got {name!r}"
        )
    return PUBLISHED[name]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """An evaluation beside the paper's figures; `notes` list the differences in method."""

    found: Evaluation
    paper: Published
    notes: Sequence[str]

    @property
    def differences(self) -> dict[str, float | None]:
        """Our means minus the paper's, in percentage points."""
        mean = self.found.mean
        pairs = {name: (mean[name], value) for name, value in self.paper.mean.items()}
        return {k: None if a is None else 100 * (a - b) for k, (a, b) in pairs.items()}

    def table(self) -> NamedRows:
        """Return a table: each category, our mean, the paper's mean, and the difference."""
        title = f"Beside the paper's {self.paper.title}, in percent"
        headings = ["\nImages", *(HEADINGS[name] for name in PAPER_METRICS)]
        table = NamedRows(title, "\nCategory", headings)
        for category, metrics in self.found.categories.items():
            images = str(metrics.good + metrics.defective)
            table.add(category, [images, *(percent(getattr(metrics, m)) for m in PAPER_METRICS)])
        mean = self.found.mean
        means = [percent(mean[m]) for m in PAPER_METRICS]
        table.add("mean", ["", *means], "bold", section=True)
        table.add("paper", ["", *(percent(v) for v in self.paper.mean.values())])
        table.add("points", ["", *map(_signed, self.differences.values())])
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON values, shares from 0 to 1, with intervals."""
        rows = {}
        for category, metrics in self.found.categories.items():
            values = {
                name: getattr(metrics, name) for name in ("good", "defective", *PAPER_METRICS)
            }
            intervals = {k: list(v) for k, v in metrics.intervals.items() if k in PAPER_METRICS}
            rows[category] = values | {"intervals": intervals}
        mean, around = self.found.mean, self.found.mean_intervals
        return {
            "set": self.paper.title,
            "notes": list(self.notes),
            "categories": rows,
            "mean": {name: mean[name] for name in PAPER_METRICS},
            "mean_intervals": {k: list(v) for k, v in around.items() if k in PAPER_METRICS},
            "paper": self.paper.mean,
            "difference_points": self.differences,
        }


def _counted(images: tuple[int, int, int]) -> str:
    train, good, defective = images
    return f"{train} to train on, {good} good and {defective} defective to test"


def _signed(points: float | None) -> str:
    return "-" if points is None else f"{points:+.1f}"
