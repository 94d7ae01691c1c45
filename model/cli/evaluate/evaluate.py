"""`mambaad evaluate`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.early import find_data, find_version
from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Data,
    Defective,
    Device,
    Good,
    Layout,
    LocalRoot,
    MaxPixels,
    Name,
    Version,
    Weights,
)
from model.errors import CheckpointError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.dataset import Dataset, Sample
    from model.evaluation import Evaluation
    from model.evaluation.rivalry import Rivalry
    from model.evaluation.untouched import Untouched
    from model.report import Subject


def evaluate(
    name: Name,
    data: Data,
    *,
    category: Categories = None,
    good: Good = None,
    defective: Defective = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the results as JSON.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            help="Record the results, and a copy of the report, in the checkpoint's folder."
        ),
    ] = True,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Write a report: one HTML file."),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Compare with PaDiM and PatchCore on the same features."),
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder, for the report's training curve."),
    ] = None,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Measure a checkpoint on the test images of DATA, per category and on average.

    Pixel metrics need DATA with defect masks. Rates are at the calibrated
    threshold, which evaluation never changes. --baselines fits on the images in
    DATA's train split that trained the checkpoint.

    For example:

      mambaad evaluate bottle data/mvtec

      mambaad evaluate bottle data/mvtec --baselines --report bottle.html

      mambaad evaluate bottle data/other --no-record --json other.json
    """
    find_version(weights, name, version)
    find_data(data)
    from rich.console import Console

    from model import evaluation
    from model.checkpoints.checkpoint import CheckpointStore
    from model.cli.passed_over import tell_passed_over
    from model.dataset import Words, read_dataset
    from model.evaluation.contradictions import contradictions, remarks
    from model.report import Subject
    from model.runtimes.torch import open_checkpoint

    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    chosen = category or checkpoint.manifest.categories
    words = Words.given(good, defective, category)
    dataset = read_dataset(data, chosen, layout, local_root, words=words)
    tell_passed_over(dataset)
    require_test_images(dataset.test, data)
    curve = None if report is None else read_curve(checkpoint, run)
    detector = open_checkpoint(checkpoint, device=device)
    measurements = evaluation.evaluate(detector, dataset.test, batch_size, progress=True)
    contradicted = contradictions(measurements, detector.calibrations)
    Console().print(measurements.table(remarks(contradicted)))
    untouched = tell_untouched(store, checkpoint, dataset.test)
    results = measurements.to_dict() | {"contradictions": [asdict(c) for c in contradicted]}
    rivalry = contest(checkpoint, measurements, dataset, device) if baselines else None
    if rivalry is not None:
        Console().print(rivalry.table())
        results["baselines"] = rivalry.to_dict()
    if record:
        store.update(checkpoint, metrics=results | {"test_images": untouched.counts()})
    if json_file is not None:
        write_json(json_file, checkpoint, results | {"test_images": untouched.to_dict()})
    if report is not None:
        about = (detector, checkpoint.manifest, measurements, data, rivalry, curve)
        subject = Subject(*about, untouched=untouched)
        publish(report, subject, store if record else None)


def publish(report: Path, subject: "Subject", store: "CheckpointStore | None") -> None:
    """Write the report, with a progress bar; a store keeps a copy with the version."""
    from model.checkpoints.store import attach_report
    from model.cli.watching import counting
    from model.report import write_report

    with counting(len(subject.evaluation.categories), "writing the report") as advance:
        write_report(report, subject, advance)
    print(f"wrote {report}")
    if store is not None:
        attach_report(store.find(subject.manifest.name, subject.manifest.version), report)


def require_test_images(samples: "Sequence[Sample]", data: Path) -> None:
    """Raise `DatasetError` if there are no test images."""
    if not samples:
        raise DatasetError(f"no test images in {data}: expected <category>/test/<defect>/*.png")


def write_json(file: Path, checkpoint: "Checkpoint", results: "Mapping[str, object]") -> None:
    """Write the results, with the checkpoint's name."""
    about = {"name": checkpoint.name, "version": checkpoint.version}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"checkpoint": about, **results}, indent=2) + "\n")


def tell_untouched(
    store: "CheckpointStore", checkpoint: "Checkpoint", samples: "Sequence[Sample]"
) -> "Untouched":
    """Check whether the checkpoint has seen the test images; warn unless it surely has not."""
    from model.cli.watching import counting
    from model.evaluation.untouched import check_untouched

    directory = store.find(checkpoint.name, checkpoint.version)
    with counting(len(samples), "comparing images") as advance:
        outcome = check_untouched(directory, checkpoint.manifest, samples, advance)
    for text in outcome.sentences():
        typer.secho(
            text if outcome.is_sure else f"warning: {text}", fg=None if outcome.is_sure else "red"
        )
    return outcome


def contest(
    checkpoint: "Checkpoint", evaluation: "Evaluation", dataset: "Dataset", device: str
) -> "Rivalry":
    """Fit the other methods on the checkpoint's training images, and compare them with it."""
    from model.evaluation.rivalry import compare_with_rivals
    from model.rivals import Features

    features = Features(checkpoint.network.encoder, checkpoint.preprocessing, device)
    return compare_with_rivals(features, trained_on(checkpoint, dataset), evaluation, progress=True)


def trained_on(checkpoint: "Checkpoint", dataset: "Dataset") -> list["Sample"]:
    """Return the good images of `dataset` that trained the checkpoint.

    Leaves out held-out images by its recipe; for imported checkpoints, returns the train split.
    """
    from model.dataset import split_good

    training = checkpoint.manifest.training
    recipe = training.get("recipe", {})
    apart = {sample.category for sample in dataset.held_out}
    unsplit = [sample for sample in dataset.train if sample.category in apart]
    shared = [sample for sample in dataset.train if sample.category not in apart]
    none_held_out = not training.get("images", {}).get("held_out", True)
    if shared and "held_out_fraction" in recipe and not none_held_out:
        shared, _ = split_good(shared, recipe["held_out_fraction"], recipe["seed"])
    return unsplit + shared


def read_curve(
    checkpoint: "Checkpoint", run: Path | None
) -> "Mapping[str, Sequence[float | None]] | None":
    """Return the training curve from the checkpoint, or from the run's folder if given."""
    from model.report.facts import training_curve
    from model.training.progress.state import read_place

    if run is None:
        return training_curve(checkpoint.manifest.training)
    place = read_place(run)
    if place is None:
        raise CheckpointError(f"no run in {run}: expected the folder of a training run, runs/NAME")
    columns = ("epoch", "loss", "held_out_loss")
    history = {name: [getattr(record, name) for record in place.history] for name in columns}
    return training_curve({"curve": history})
