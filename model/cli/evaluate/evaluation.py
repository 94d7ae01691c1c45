"""Evaluate a checkpoint, judge it, and write what the options ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from model.benchmark import device_name
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.checkpoints.manifest import Manifest, software
from model.checkpoints.store import attach_report
from model.cli.evaluate.evaluate import write_json
from model.cli.watching import counting
from model.criteria import Criterion
from model.dataset import Dataset, Sample
from model.errors import CheckpointError
from model.evaluation import Evaluation, evaluate
from model.evaluation.assessment import Assessment, assess
from model.evaluation.contradictions import contradictions, remarks
from model.evaluation.operation import Prices
from model.evaluation.rivalry import Rivalry, compare_with_rivals
from model.evaluation.score_files import write_scores
from model.evaluation.untouched import Untouched, check_untouched
from model.inference.detector import Detector
from model.inference.engine import name_of
from model.recorded import EVALUATED, recorded_with
from model.report import Subject, write_report
from model.report.facts import training_curve
from model.rivals import Features
from model.runtimes.offline import Choice, detector_of_loaded
from model.training.data import GoodImages, divide_as_recorded
from model.training.progress.state import read_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's arguments, and the images in `data`.

    `costs` are those of a false reject and of an escape and the share of defective parts.
    """

    name: str
    version: str | None
    data: Path
    dataset: Dataset
    json_file: Path | None
    scores: Path | None
    report: Path | None
    records: bool
    has_baselines: bool
    run: Path | None
    criteria: tuple[Criterion, ...]
    costs: tuple[float, float, float | None]
    batch_size: int
    choice: Choice
    weights: Path


def answer(request: Request) -> bool:
    """Print the results and write the outputs; returns whether all criteria are met."""
    store = CheckpointStore(request.weights)
    checkpoint = store.load(request.name, request.version)
    dataset = request.dataset
    curve = None if request.report is None else read_curve(checkpoint, request.run)
    folder = store.find(checkpoint.name, checkpoint.version)
    detector = detector_of_loaded(checkpoint, folder, request.choice)
    evaluation = evaluate(detector, dataset.test, request.batch_size, progress=True)
    contradicted = contradictions(evaluation, detector.calibrations)
    assessment = assess(evaluation, request.data, Prices(*request.costs), request.criteria)
    tell(Console(), evaluation, assessment, remarks(contradicted))
    print(f"computed with {name_of(detector.engine)}")
    if request.scores is not None:
        write_scores(request.scores, evaluation.records, request.data)
        print(f"wrote {request.scores}")
    untouched = tell_untouched(store, checkpoint, dataset.test)
    results = evaluation.to_dict() | {"contradictions": [asdict(c) for c in contradicted]}
    results["engine"] = name_of(detector.engine)
    rivalry = None
    if request.has_baselines:
        rivalry = contest(checkpoint, detector, evaluation, dataset)
        Console().print(rivalry.table())
        results["baselines"] = rivalry.to_dict()
    keep(request, store, checkpoint, results, assessment, untouched)
    if request.report is not None:
        subject = Subject(
            detector, checkpoint.manifest, evaluation, request.data, rivalry, curve,
            untouched=untouched, assessment=assessment,
        )  # fmt: skip
        publish(request.report, subject, store if request.records else None)
    for line in assessment.lines():  # last, so that nobody misses the verdict
        Console().print(line, soft_wrap=True)
    return assessment.verdict != "FAIL"


def tell(
    console: Console,
    evaluation: Evaluation,
    assessment: Assessment,
    remarked: Mapping[tuple[str, str], Sequence[str]],
) -> None:
    """Print the metrics, what was not measured, and the false rejects of fewer escapes."""
    console.print(evaluation.table(remarked))
    for text in evaluation.gaps:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    prices = assessment.table()
    if prices is not None:
        console.print(prices)


def keep(
    request: Request,
    store: CheckpointStore,
    checkpoint: Checkpoint,
    results: dict[str, Any],
    assessment: Assessment,
    untouched: Untouched,
) -> None:
    """Record the results with the checkpoint and write the JSON file, as far as requested."""
    if request.records:
        about = {
            "test_images": untouched.counts(),
            "acceptance": assessment.acceptance(),
            EVALUATED: evaluated(request.data, checkpoint, assessment),
        }
        # Read again: another evaluation may have ended meanwhile.
        before = Manifest.read(store.find(checkpoint.name, checkpoint.version)).metrics
        store.update(checkpoint, metrics=recorded_with(before, results | about))
    if request.json_file is not None:
        more = assessment.to_dict() | {"test_images": untouched.to_dict()}
        write_json(request.json_file, checkpoint, results | more)


def evaluated(data: Path, checkpoint: Checkpoint, assessment: Assessment) -> dict[str, Any]:
    """Return what was evaluated on, for the manifest: without paths, which say who and where."""
    return {
        "data": data.resolve().name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": software()["mambaad-service"],
        "calibration": checkpoint.manifest.calibration_version,
        "categories": {c: found.to_dict() for c, found in assessment.category_data.items()},
    }


def publish(report: Path, subject: Subject, store: CheckpointStore | None) -> None:
    """Write the report, with a progress bar; a store keeps a copy with the version."""
    with counting(len(subject.evaluation.categories), "writing the report") as advance:
        write_report(report, subject, advance)
    print(f"wrote {report}")
    if store is not None:
        attach_report(store.find(subject.manifest.name, subject.manifest.version), report)


def contest(
    checkpoint: Checkpoint, detector: Detector, evaluation: Evaluation, dataset: Dataset
) -> Rivalry:
    """Fit the other methods on the checkpoint's training images, and compare them with it."""
    device = detector.engine.device
    features = Features(checkpoint.network.encoder, checkpoint.preprocessing, device)
    return compare_with_rivals(
        features, trained_on(checkpoint, dataset), evaluation,
        progress=True, detector=detector, device=described(device),
    )  # fmt: skip


def described(device: str, engine: str = "") -> str:
    """Return a device's name, with the number of threads of a CPU: a time needs both.

    `engine` names what computes, if it is not only torch.
    """
    threads = torch.get_num_threads()
    many = "" if threads == 1 else "s"
    more = f", {threads} thread{many}" if device == "cpu" else ""
    return f"{device} ({device_name(device)}{more}{engine and f', {engine}'})"


def tell_untouched(
    store: CheckpointStore, checkpoint: Checkpoint, samples: Sequence[Sample]
) -> Untouched:
    """Check whether the checkpoint has seen the test images; warn unless it surely has not."""
    directory = store.find(checkpoint.name, checkpoint.version)
    with counting(len(samples), "comparing images") as advance:
        outcome = check_untouched(directory, checkpoint.manifest, samples, advance)
    for text in outcome.sentences():
        typer.secho(
            text if outcome.is_sure else f"warning: {text}", fg=None if outcome.is_sure else "red"
        )
    return outcome


def trained_on(checkpoint: Checkpoint, dataset: Dataset) -> list[Sample]:
    """Return the good images of `dataset` that trained the checkpoint.

    Leaves out held-out images by its recipe; for imported checkpoints, returns the train split.
    """
    training = checkpoint.manifest.training
    recipe = training.get("recipe", {})
    recorded = training.get("images", {}).get("held_out", {"unknown": ""})
    if "held_out_fraction" not in recipe or not recorded:
        return dataset.train
    images = GoodImages(tuple(dataset.train), tuple(dataset.held_out))
    fraction, seed = recipe["held_out_fraction"], recipe["seed"]
    return list(divide_as_recorded(images, fraction, seed, recorded).train)


def read_curve(
    checkpoint: Checkpoint, run: Path | None
) -> Mapping[str, Sequence[float | None]] | None:
    """Return the training curve from the checkpoint, or from the run's folder if given."""
    if run is None:
        return training_curve(checkpoint.manifest.training)
    place = read_place(run)
    if place is None:
        raise CheckpointError(f"no run in {run}: expected the folder of a training run, runs/NAME")
    columns = ("epoch", "loss", "held_out_loss")
    history = {name: [getattr(record, name) for record in place.history] for name in columns}
    return training_curve({"curve": history})
