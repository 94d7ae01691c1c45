"""Load or train a checkpoint, evaluate it and compare it with the paper's figures."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.cli.checkpoints.importing import build_detector, keep, read_network
from model.cli.evaluate.compare import split_name
from model.cli.evaluate.evaluate import write_json
from model.cli.train.options import RunOptions, SourceOptions
from model.cli.train.run import TrainRequest, follow
from model.cli.watching import counting
from model.dataset import Dataset, Sample, read_dataset
from model.errors import DatasetError
from model.evaluation import evaluate
from model.evaluation.paper import Published, Reproduction, published
from model.evaluation.untouched import Untouched, check_untouched
from model.inference.detector import Detector
from model.inspection import Category
from model.network.encoder import check_encoder_weights
from model.report import Subject, write_report
from model.runtimes.torch import open_checkpoint
from model.training import TrainingData, calibrate
from model.training.data import digests
from model.training.recipe.departures import departures
from model.training.recipe.recipe import read_with

STAND_IN_IMAGES = 20
"""Training images per category for a stand-in threshold, if the checkpoint has none."""

_SAME_RULES = (
    "AUPRO is exact here; the published evaluator uses 100 thresholds and can be off by a point "
    "or more in either direction (docs/quality.md)."
)
_STAND_IN = (
    "The thresholds are stand-ins from training images and promise nothing. No figure in this "
    "table depends on them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The command's arguments: the set and its folder, the checkpoint or recipe, the outputs."""

    name: str
    data: Path
    checkpoint: str | None
    recipe: str | None
    settings: list[str]
    categories: list[str] | None
    local_root: Path | None
    report: Path | None
    json_file: Path | None
    batch_size: int
    trained_name: str
    cache: Path | None
    run: RunOptions


def answer(question: Question) -> bool:
    """Print the figures and write the outputs; returns False if training was interrupted."""
    paper = published(question.name)
    dataset = read_published(question, paper)
    checkpoint = load(question) if question.checkpoint else train(question, dataset)
    if checkpoint is None:  # only the first of several processes goes on
        return True
    if checkpoint.manifest.training.get("ended") == "interrupted" and question.recipe:
        return False
    detector = open_checkpoint(checkpoint, device=question.run.device)
    stand_in = add_thresholds(detector, dataset)
    evaluation = evaluate(detector, dataset.test, question.batch_size, progress=True)
    notes = [*notes_on(checkpoint, dataset, paper), _SAME_RULES, *([_STAND_IN] if stand_in else [])]
    reproduction = Reproduction(evaluation, paper, notes)
    show(reproduction)
    if question.json_file is not None:
        write_json(question.json_file, checkpoint, reproduction.to_dict())
    if question.report is not None:
        subject = Subject(
            detector, checkpoint.manifest, evaluation, question.data,
            notes=tuple(notes), stand_in=stand_in,
            untouched=untouched_of(question, checkpoint, dataset),
        )  # fmt: skip
        with counting(len(evaluation.categories), "writing the report") as advance:
            write_report(question.report, subject, advance)
        print(f"wrote {question.report}")
    return True


def untouched_of(question: Question, checkpoint: Checkpoint, dataset: Dataset) -> Untouched:
    """Check whether the checkpoint has seen the test images; an imported one has no list."""
    directory = question.run.weights / checkpoint.name / checkpoint.version
    return check_untouched(directory, checkpoint.manifest, dataset.test)


def read_published(question: Question, paper: Published) -> Dataset:
    """Read the set in its published layout; raises `DatasetError` for anything else."""
    dataset = read_dataset(question.data, question.categories, paper.layout, question.local_root)
    bare = [c for c in dataset.categories if not _complete(dataset, c)]
    if bare:
        raise DatasetError(
            f"{question.data} is not {paper.title} as published: {', '.join(bare)} needs good "
            "training images, good test images and defective test images with masks"
        )
    return dataset


def _complete(dataset: Dataset, category: Category) -> bool:
    part = dataset.of([category])
    return (
        bool(part.train)
        and any(sample.is_good for sample in part.test)
        and any(not sample.is_good and sample.mask for sample in part.test)
    )


def load(question: Question) -> Checkpoint:
    """Return the published checkpoint in a file, or a stored one."""
    source = str(question.checkpoint)
    file = Path(source)
    if file.suffix not in {".pth", ".pt"} and not file.is_file():
        return CheckpointStore(question.run.weights).load(*split_name(source))
    network = read_network(file)
    detector = build_detector(network, "cpu")
    with TemporaryDirectory() as folder:  # not in the user's store
        store = CheckpointStore(Path(folder))
        keep(store, "published", file, network, detector, [], {})
        return store.load("published")


def train(question: Question, dataset: Dataset) -> Checkpoint | None:
    """Train on every good training image, as the paper does; none is held out for calibration."""
    recipe = read_with(str(question.recipe), question.settings)
    check_encoder_weights(recipe.network.encoder, recipe.encoder_weights)
    request = TrainRequest(
        name=question.trained_name,
        recipe=recipe,
        source=SourceOptions(data=question.data, cache=question.cache),
        run=question.run,
    )
    return follow(request, TrainingData(tuple(dataset.train), tuple(dataset.held_out)))


def add_thresholds(detector: Detector, dataset: Dataset) -> bool:
    """Add missing thresholds from training images; return whether any was missing.

    Ranking metrics need no threshold, but heatmaps do.
    """
    missing = [c for c in dataset.categories if c not in detector.calibrations]
    samples = [s for c in missing for s in _spread(dataset.of([c]).train)]
    if not samples:
        return False
    with counting(len(samples), "thresholds for heatmaps") as advance:
        detector.calibrations |= calibrate(
            detector, detector.scoring, samples, 1 / (STAND_IN_IMAGES + 1), advance=advance
        )
    return True


def _spread(samples: list[Sample]) -> list[Sample]:
    return samples[:: -(-len(samples) // STAND_IN_IMAGES)]


def notes_on(checkpoint: Checkpoint, dataset: Dataset, paper: Published) -> list[str]:
    """List how data, network, recipe and training images differ from the paper's."""
    manifest = checkpoint.manifest
    recipe = manifest.training.get("recipe")
    different = departures(manifest.network, manifest.scoring, manifest.preprocessing, recipe)
    notes = paper.departures(dataset)
    if different:
        notes.append(f"Not the paper's configuration: {'; '.join(different)}.")
    if recipe is None:
        source = manifest.training.get("imported_from", "elsewhere")
        notes.append(f"Trained elsewhere ({source}): its recipe and training images are unknown.")
    elif not manifest.training.get("finished"):
        notes.append(f"Stopped after {manifest.training.get('epochs_done')} epochs.")
    learned = manifest.training.get("images", {}).get("train")
    if learned is not None and learned != digests(dataset.train):
        notes.append("Not trained on exactly the train split of this data, as the paper's is.")
    return notes


def show(reproduction: Reproduction) -> None:
    """Print the table and its notes."""
    console = Console()
    console.print(reproduction.table())
    for note in reproduction.notes:
        console.print(f"- {note}", highlight=False, soft_wrap=True)
