"""Inspect samples by category and measure the results."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.dataset import Sample, inspection_batches
from model.errors import DatasetError
from model.evaluation.measuring import Part, measure_part
from model.evaluation.results import Evaluation
from model.inference.detector import Detector
from model.inspection import Category, Inspection
from model.metrics.resampling import RESAMPLINGS


def evaluate(
    detector: Detector,
    samples: Sequence[Sample],
    batch_size: int = 8,
    progress: bool = False,
    resamplings: int = RESAMPLINGS,
) -> Evaluation:
    """Inspect the samples and compare the results with their labels, at the calibrated thresholds.

    `progress` draws a bar on stderr. Raises `DatasetError` for no samples or a mask of another
    size, `ImageError` for an unreadable image, `UnknownCategory` for a category without calibration
    and `NonFiniteOutput` for a network that returns NaN.
    """
    groups = group_samples(samples, batch_size)
    parts: dict[Category, Part] = {}
    with progress_bar(progress) as bar:
        task = bar.add_task("Inspecting", total=len(samples))
        for category, group in groups.items():
            inspections = _inspect(detector, group, batch_size)
            size = detector.preprocessing.image_size
            parts[category] = measure_part(
                group, inspections, size, resamplings, lambda: bar.advance(task)
            )
    return Evaluation(
        {category: part.metrics for category, part in parts.items()},
        tuple(record for part in parts.values() for record in part.records),
        {category: part.replicates for category, part in parts.items()},
    )


def group_samples(samples: Sequence[Sample], batch_size: int) -> dict[Category, list[Sample]]:
    """Sort samples by category and path, so that the same images have the same resamplings."""
    if not samples:
        raise DatasetError("no test images: expected <category>/test/<defect>/*.png")
    if batch_size < 1:
        raise DatasetError(f"batch_size must be at least 1, got {batch_size}")
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (sample.category, str(sample.path))):
        groups[sample.category].append(sample)
    return dict(groups)


def _inspect(
    detector: Detector, samples: Sequence[Sample], batch_size: int
) -> Iterator[Inspection]:
    for batch in inspection_batches(samples, detector.preprocessing, batch_size):
        yield from detector.inspect(batch.images, batch.categories, batch.image_sizes)


def progress_bar(shown: bool) -> Progress:
    """Return a progress bar on stderr; invisible unless `shown`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
