"""The self-check and the recommendation at the end of `mambaad train`, and in `mambaad advise`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import ModelError

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.inspection import Category
    from model.training import TrainingData
    from model.training.advice import CheckRequest, SelfCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEnd:
    """A finished training: its checkpoint, its images, and the folder of its run."""

    store: "CheckpointStore"
    checkpoint: "Checkpoint"
    images: "TrainingData"
    folder: Path
    device: str


def advise_after_training(end: TrainingEnd, *, check: bool) -> None:
    """Print the recommendation and record it; with `check`, after a self-check.

    An error in the check does not fail the training, which is saved already.
    """
    from model.training.advice import recommend

    outcome = None
    if check:
        try:
            outcome = check_training(end)
        except KeyboardInterrupt:
            print("self-check stopped; mambaad advise repeats it. The checkpoint is saved")
        except (ModelError, MemoryError, RuntimeError) as error:  # torch raises RuntimeError
            print(f"no self-check: {error}")
    images = end.images
    good = [*images.train, *images.held_out, *images.watch]
    recommendation = recommend(end.checkpoint, good, outcome)
    tell(recommendation.sentences)
    end.store.update(end.checkpoint, training=recommendation.to_dict())


def check_training(end: TrainingEnd) -> "SelfCheck | None":
    """Run or collect the self-check of a training; prints why if there is none."""
    from model.training.advice import CheckRequest, allowed_s
    from model.training.advice.observing import ROUNDS

    training = end.checkpoint.manifest.training
    config = training["recipe"]
    if training["ended"] == "interrupted":
        print("no self-check: the training was interrupted")
        return None
    if config.get("folds"):
        return collect_folds(end.checkpoint, end.folder, config["folds"])
    if not end.images.held_out:
        print("no self-check: no good images were held out")
        return None
    request = CheckRequest(
        parts=end.images.held_out,
        train=end.images.keep_apart(config.get("watch_fraction", 0.0), config["seed"]).train,
        seconds=allowed_s(training["seconds"]),
        rounds=ROUNDS,
        seed=config["seed"],
    )
    stored = end.store.load(end.checkpoint.name, end.checkpoint.version)
    return check_parts(stored, request, end.device, "--no-self-check skips it")


def collect_folds(checkpoint: "Checkpoint", folder: Path, folds: int) -> "SelfCheck | None":
    """Return the findings of the folds' networks; prints why if there are none."""
    from model.training.advice import conclude, read_folds

    scores, checked = read_folds(folder)
    if not scores:
        print("no self-check: no fold's network was checked")
        return None
    if checked < folds:
        print(f"self-check: of {checked} of {folds} folds; the run was stopped in the others")
    return conclude(scores, checkpoint.calibrations, _seed(checkpoint), folds)


def check_parts(
    checkpoint: "Checkpoint", request: "CheckRequest", device: str, hint: str
) -> "SelfCheck":
    """Run the self-check of a stored checkpoint, with a progress bar."""
    import dataclasses

    from rich.console import Console

    from model.cli.watching import counting
    from model.runtimes.torch import open_checkpoint
    from model.training.advice import conclude, score_parts

    Console(stderr=True).print(
        f"self-check: drawing {request.defects} defects into {len(request.parts)} good parts of "
        f"{', '.join(request.categories)}, in about {request.seconds:.0f} s at most; {hint}",
        highlight=False,
        soft_wrap=True,
    )
    detector = open_checkpoint(checkpoint, device=device)
    with counting(request.steps, "self-check") as advance:
        request = dataclasses.replace(request, advance=advance)
        scores = score_parts(checkpoint.network, detector, request)
    return conclude(scores, checkpoint.calibrations, request.seed)


def tell(sentences: "Mapping[Category, Sequence[str]]") -> None:
    """Print each category's sentences, a line each."""
    for category, of_category in sentences.items():
        for sentence in of_category:
            print(f"{category}: {sentence}")


def _seed(checkpoint: "Checkpoint") -> int:
    return int(checkpoint.manifest.training["recipe"]["seed"])
