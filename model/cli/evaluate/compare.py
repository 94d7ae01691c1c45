"""`mambaad compare`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Data,
    Device,
    Layout,
    LocalRoot,
    MaxPixels,
    Weights,
)
from model.errors import DatasetError, UnknownCategory

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint
    from model.evaluation import Comparison

_LISTED = 20


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME, or NAME/VERSION.")],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME, or NAME/VERSION.")],
    data: Data,
    *,
    category: Categories = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the differences as JSON.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Write a report: one HTML file."),
    ] = None,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    weights: Weights = STORE,
) -> None:
    """Compare two checkpoints on the test images of DATA: B less A, image by image.

    Differences come with intervals from paired resamplings, and every changed
    decision is listed. Neither checkpoint is changed.

    For example:

      mambaad compare bottle/1 bottle/2 data/mvtec

      mambaad compare bottle all-parts data/mvtec --category bottle --report both.html
    """
    from rich.console import Console

    from model import evaluation
    from model.checkpoints.checkpoint import CheckpointStore
    from model.cli.watching import counting
    from model.dataset import read_dataset
    from model.report import Pair, write_comparison
    from model.runtimes.torch import open_checkpoint

    store = CheckpointStore(weights)
    one, two = (store.load(*split_name(name)) for name in (first, second))
    chosen = shared_categories(one, two, category)
    samples = read_dataset(data, chosen, layout, local_root).test
    if not samples:
        raise DatasetError(f"no test images in {data}: expected <category>/test/<defect>/*.png")
    detectors = [open_checkpoint(checkpoint, device) for checkpoint in (one, two)]
    found = [evaluation.evaluate(d, samples, batch_size, progress=True) for d in detectors]
    comparison = evaluation.compare(found[0], found[1])
    Console().print(comparison.table((first, second)))
    list_changes(comparison)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        about = {"first": f"{one.name}/{one.version}", "second": f"{two.name}/{two.version}"}
        json_file.write_text(json.dumps(about | comparison.to_dict(), indent=2) + "\n")
    if report is not None:
        pair = Pair(
            (first, second),
            (detectors[0], detectors[1]),
            (one.manifest, two.manifest),
            comparison,
            data,
        )
        with counting(len(comparison.changes), "writing the report") as advance:
            write_comparison(report, pair, advance)
        print(f"wrote {report}")


def split_name(text: str) -> tuple[str, str | None]:
    """Read NAME or NAME/VERSION."""
    name, _, version = text.partition("/")
    return name, version or None


def shared_categories(
    one: "Checkpoint", two: "Checkpoint", asked: list[str] | None = None
) -> list[str]:
    """Return the categories asked for, or all, that both are calibrated for."""
    have = (one.manifest.categories, two.manifest.categories)
    shared = [category for category in have[0] if category in have[1]]
    if not shared or not set(asked or ()) <= set(shared):
        raise UnknownCategory(
            f"both checkpoints must be calibrated for {', '.join(asked or ()) or 'a category'}: "
            f"{one.name} has {', '.join(have[0]) or 'none'}, "
            f"{two.name} {', '.join(have[1]) or 'none'}"
        )
    return asked or shared


def list_changes(comparison: "Comparison") -> None:
    """Print the images that are decided differently, the first of them where they are many."""
    images, changes = len(comparison.first.records), comparison.changes
    print(f"{len(changes)} of {images} images are decided differently")
    words = {True: "better", False: "worse", None: "changed"}
    for change in changes[:_LISTED]:
        first, second = change.first, change.second
        print(
            f"  {words[change.is_better]:8}{first.decision} -> {second.decision}  "
            f"{first.score:.3f} -> {second.score:.3f}  {change.sample.defect:12} "
            f"{change.sample.path}"
        )
    if len(changes) > _LISTED:
        print(f"  and {len(changes) - _LISTED} more: --json and --report have them all")
