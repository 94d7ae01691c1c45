"""One version: where it is in memory, its golden images, its metrics, how it was trained.

A manifest may come from a stranger: `training` and `metrics` may have any JSON; see
`service.console.models.manifest_values`.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model.checkpoints.key import CheckpointKey
from model.checkpoints.manifest import Manifest
from model.inspection import Category
from model.recorded import EVALUATED, recorded
from service.api.service import Service
from service.console.models.manifest_values import (
    MOST_TEXT,
    Measured,
    mapping,
    measured,
    number,
    text,
    whole,
)
from service.console.models.overview import moment_in

METRICS = ("image_auroc", "image_ap", "pixel_auroc", "aupro", "false_reject_rate", "escape_rate")
_MOST_CATEGORIES = 200


@dataclass(frozen=True, slots=True)
class InMemory:
    """A version on a worker; `image_ms` and `batch_ms` are a batch's duration.

    `golden` is the largest difference of its golden images as a share of the tolerance.
    """

    worker: str
    bytes: int
    loaded_at: datetime
    load_s: float
    image_ms: float | None
    batch_ms: float | None
    golden: float | None
    used_at: datetime


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The golden images of one category."""

    category: Category
    images: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """A category's results on test images; `metrics` has all names of `METRICS`.

    `data` and `evaluated` say which images and when, empty and None if the manifest does not.
    """

    category: str
    data: str
    evaluated: datetime | None
    good: int | None
    defective: int | None
    metrics: Mapping[str, Measured | None]


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """How a category's images were used in training."""

    category: str
    train: str
    held_out: str


@dataclass(frozen=True, slots=True)
class Details:
    """What a version's manifest says; `recipe` has every value of the recipe by its path."""

    encoder: str
    input_px: str
    epochs: str
    seconds: float | None
    images: Sequence[TrainedOn]
    recipe: Sequence[tuple[str, str]]
    results: Sequence[CategoryResult]
    was_checked: bool
    seen_images: int
    golden: Sequence[GoldenSet]
    files: Sequence[tuple[str, str]]
    software: Sequence[tuple[str, str]]
    license: str | None
    notice: str | None
    calibration_version: int


def in_memory(service: Service, key: CheckpointKey) -> list[InMemory]:
    """Return the workers that have a version in memory. Belongs to the event loop."""
    clock, now = asyncio.get_running_loop().time(), datetime.now(UTC)
    rows = []
    for worker, resident in sorted(service.lifecycle.residents(key).items()):
        line = resident.latency_line
        rows.append(
            InMemory(
                worker=worker,
                bytes=resident.bytes,
                loaded_at=now - timedelta(seconds=max(0.0, clock - resident.since)),
                load_s=resident.loaded_s,
                image_ms=1000 * line.a_s if line else None,
                batch_ms=1000 * line.b_s if line else None,
                golden=resident.golden,
                used_at=now - timedelta(seconds=max(0.0, clock - resident.last_used)),
            )
        )
    return rows


def details_of(manifest: Manifest) -> Details:
    """Return what a manifest says, without values of an unexpected type."""
    training, network = manifest.training, manifest.network
    recipe = mapping(training.get("recipe"))
    evaluations = recorded(manifest.metrics)
    tested = [mapping(results.get("test_images")) for results in evaluations]
    sizes = manifest.preprocessing.get("image_size")
    return Details(
        encoder=text(network.get("encoder")),
        input_px=" × ".join(map(text, sizes)) if isinstance(sizes, list | tuple) else "",  # noqa: RUF001
        epochs=" / ".join(
            filter(None, (text(training.get("epochs_done")), text(recipe.get("epochs"))))
        ),
        seconds=number(training.get("seconds")),
        images=_images(mapping(training.get("images"))),
        recipe=list(_flat(recipe))[:_MOST_CATEGORIES],
        results=_results(evaluations),
        was_checked=all(images.get("checked") is True for images in tested),
        seen_images=sum(whole(images.get("seen")) or 0 for images in tested),
        golden=[
            GoldenSet(category, len(entry.raw_scores), entry.tolerance)
            for category, entry in sorted(manifest.golden.items())
        ],
        files=sorted(manifest.sha256.items()),
        software=[(name[:MOST_TEXT], of[:MOST_TEXT]) for name, of in _software(manifest)],
        license=manifest.license,
        notice=manifest.notice,
        calibration_version=manifest.calibration_version,
    )


def _software(manifest: Manifest) -> list[tuple[str, str]]:
    return list(manifest.software.items())[:_MOST_CATEGORIES]


def _images(images: Mapping[str, object]) -> list[TrainedOn]:
    train, held_out = mapping(images.get("train")), mapping(images.get("held_out"))
    names = sorted({*train, *held_out})[:_MOST_CATEGORIES]
    return [
        TrainedOn(name[:MOST_TEXT], text(train.get(name)), text(held_out.get(name)))
        for name in names
    ]


def _results(evaluations: Sequence[Mapping[str, object]]) -> list[CategoryResult]:
    """Return each evaluation's categories, in order of name and then the newest first."""
    results = [row for evaluation in evaluations for row in _results_of(evaluation)]
    return sorted(results, key=lambda row: row.category)[:_MOST_CATEGORIES]


def _results_of(evaluation: Mapping[str, object]) -> Iterator[CategoryResult]:
    about = mapping(evaluation.get(EVALUATED))
    data, date = text(about.get("data")), moment_in(text(about.get("date")))
    for name, given in mapping(evaluation.get("categories")).items():
        values = mapping(given)
        intervals = mapping(values.get("intervals"))
        shown = {one: measured(values.get(one), intervals.get(one)) for one in METRICS}
        good, defective = whole(values.get("good")), whole(values.get("defective"))
        yield CategoryResult(name[:MOST_TEXT], data, date, good, defective, shown)


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        else:
            yield path[:MOST_TEXT], text(value)
