"""`mambaad compare`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.early import find_data, find_version
from model.cli.evaluate.evaluate import require_test_images
from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Data,
    Defective,
    Device,
    Engine,
    Good,
    Layout,
    LocalRoot,
    MaxPixels,
    Precision,
    Weights,
)
from model.errors import UnknownCategory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.checkpoints.manifest import Manifest
    from model.dataset import Sample
    from model.evaluation import Comparison
    from model.evaluation.timing import Times
    from model.inference.detector import Detector
    from model.report import Pair

_LISTED = 20


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME, or NAME/VERSION.")],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME, or NAME/VERSION.")],
    data: Data,
    *,
    category: Categories = None,
    good: Good = None,
    defective: Defective = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the differences as JSON.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Write a report: one HTML file."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every image with a different decision.")
    ] = False,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    engine: Engine = "torch",
    precision: Precision = "float32",
    weights: Weights = STORE,
) -> None:
    """Compare two checkpoints on the test images of DATA: B minus A, image by image.

    Differences have intervals from paired resamplings. Changed decisions are
    listed with the worse ones first: a defect that changed from NG or REVIEW to
    OK, a good part that changed from OK to REVIEW or NG. Neither checkpoint
    changes.

    For example:

      mambaad compare bottle/1 bottle/2 data/mvtec

      mambaad compare bottle all-parts data/mvtec --category bottle --report both.html
    """
    from model.runtimes.offline import Choice, check_engine

    choice = Choice(engine, precision, device)
    for manifest in find_subjects(weights, (first, second), data):
        check_engine(manifest, choice)
    from rich.console import Console

    from model import evaluation
    from model.checkpoints.checkpoint import CheckpointStore
    from model.cli.passed_over import tell_passed_over
    from model.dataset import Words, read_dataset
    from model.report import Pair
    from model.runtimes.offline import detector_of_loaded

    store = CheckpointStore(weights)
    former, latter = (store.load(*split_name(name)) for name in (first, second))
    chosen = shared_categories(former, latter, category)
    dataset = read_dataset(
        data, chosen, layout, local_root, words=Words.given(good, defective, category)
    )
    tell_passed_over(dataset)
    samples = dataset.test
    require_test_images(samples, data)
    detectors = [
        detector_of_loaded(checkpoint, store.find(checkpoint.name, checkpoint.version), choice)
        for checkpoint in (former, latter)
    ]
    evaluations = [evaluation.evaluate(d, samples, batch_size, progress=True) for d in detectors]
    comparison = evaluation.compare(evaluations[0], evaluations[1])
    times = _measure_times(detectors[0], detectors[1], samples)
    Console().print(comparison.table((first, second)))
    print(times.text((first, second)))
    for checkpoint in (former, latter):
        warn_of_seen(store, checkpoint, samples)
    list_changes(comparison, None if every else _LISTED)
    if json_file is not None:
        differences = comparison.to_dict() | {"times": times.to_dict()}
        _write_json(json_file, former, latter, differences)
    if report is not None:
        manifests = (former.manifest, latter.manifest)
        both = (detectors[0], detectors[1])
        _publish(report, Pair((first, second), both, manifests, comparison, data, times))


def _measure_times(first: "Detector", second: "Detector", samples: "Sequence[Sample]") -> "Times":
    from model.cli.evaluate.evaluation import described
    from model.evaluation.timing import Times, inspection_ms
    from model.inference.engine import name_of

    both = (inspection_ms(first, samples), inspection_ms(second, samples))
    return Times(described(first.engine.device, name_of(first.engine)), both)


def _publish(report: Path, pair: "Pair") -> None:
    from model.cli.watching import counting
    from model.report import write_comparison

    with counting(len(pair.comparison.changes), "writing the report") as advance:
        write_comparison(report, pair, advance)
    print(f"wrote {report}")


def find_subjects(weights: Path, names: tuple[str, str], data: Path) -> "list[Manifest]":
    """Return the manifests; raises the error of a checkpoint or of data that do not exist."""
    manifests = [find_version(weights, *split_name(name)) for name in names]
    find_data(data)
    return manifests


def _write_json(
    file: Path, former: "Checkpoint", latter: "Checkpoint", differences: "Mapping[str, object]"
) -> None:
    about = {
        "first": f"{former.name}/{former.version}",
        "second": f"{latter.name}/{latter.version}",
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, **differences}, indent=2) + "\n")


def split_name(text: str) -> tuple[str, str | None]:
    """Read NAME or NAME/VERSION."""
    name, _, version = text.partition("/")
    return name, version or None


def shared_categories(
    former: "Checkpoint", latter: "Checkpoint", requested: list[str] | None = None
) -> list[str]:
    """Return `requested`, or all categories for which both checkpoints are calibrated."""
    have = (former.manifest.categories, latter.manifest.categories)
    shared = [category for category in have[0] if category in have[1]]
    if not shared or not set(requested or ()) <= set(shared):
        raise UnknownCategory(
            "both checkpoints must be calibrated for "
            f"{', '.join(requested or ()) or 'a common category'}: "
            f"{former.name} has {', '.join(have[0]) or 'none'}, "
            f"{latter.name} {', '.join(have[1]) or 'none'}"
        )
    return requested or shared


def warn_of_seen(
    store: "CheckpointStore", checkpoint: "Checkpoint", samples: "Sequence[Sample]"
) -> None:
    """Warn if test images were used in a checkpoint's training: the comparison is unfair then."""
    from model.evaluation.untouched import check_untouched

    directory = store.find(checkpoint.name, checkpoint.version)
    untouched = check_untouched(directory, checkpoint.manifest, samples)
    if untouched.seen:
        text = f"{checkpoint.name}/{checkpoint.version}: {untouched.sentences()[0]}"
        typer.secho(f"warning: {text}", fg="red")


def list_changes(comparison: "Comparison", limit: int | None = _LISTED) -> None:
    """Print up to `limit` images with different decisions, worse ones first."""
    images, changes = len(comparison.first.records), comparison.changes
    worse = sum(not change.is_better for change in changes)
    print(
        f"{len(changes)} of {images} images have a different decision: {worse} worse, "
        f"{len(changes) - worse} better"
    )
    for change in changes[:limit]:
        first, second = change.first, change.second
        print(
            f"  {'better' if change.is_better else 'worse':6}  {first.decision} -> "
            f"{second.decision}  {first.score:.3f} -> {second.score:.3f}  {change.sample.defect}"
        )
        print(f"          {change.sample.path}")
    if limit is not None and len(changes) > limit:
        print(f"  and {len(changes) - limit} more: --all lists them")
