"""`mambaad calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.checkpoints import goals
from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Device,
    MaxPixels,
    Name,
    Version,
    Weights,
)
from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.calibration.operating_point import Goal
    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.dataset import Sample


def calibrate(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="The data trained on: its held-out images are used."),
    ] = None,
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New good images: DIR/<category>/, or DIR itself for a single --category.",
        ),
    ] = None,
    category: Categories = None,
    alpha: Annotated[float, typer.Option(help="The false-reject rate to promise.")] = 0.01,
    review_alpha: Annotated[
        float | None,
        typer.Option(help="Open a REVIEW band: the share of good parts in it or rejected."),
    ] = None,
    defects: goals.Defects = None,
    target_escape_rate: goals.TargetEscapeRate = None,
    no_review: goals.NoReview = False,
    f1_max: goals.F1Max = False,
    cost_false_reject: goals.CostFalseReject = None,
    cost_escape: goals.CostEscape = None,
    cost_review: goals.CostReview = None,
    defect_rate: goals.DefectRate = 0.01,
    show_log: Annotated[
        bool, typer.Option("--log", help="List the calibrations there have been, and end.")
    ] = False,
    use: Annotated[
        int | None, typer.Option(metavar="N", help="Take up calibration N of the log again.")
    ] = None,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Set the thresholds of a checkpoint again, from good images it has not learned from.

    The network stays as it is, and what was in force before stays in the log. For example:

      mambaad calibrate bottle data/mvtec --alpha 0.005

      mambaad calibrate bottle --images line-3/good --category bottle

      mambaad calibrate bottle data/mvtec --defects rejects --target-escape-rate 0.02

      mambaad calibrate bottle data/mvtec --defects rejects --cost-false-reject 2 --cost-escape 500
    """
    from model.checkpoints.checkpoint import CheckpointStore

    store = CheckpointStore(weights)
    if show_log or use is not None:
        return _look_back(store, name, version, use)
    goal = goals.goal_of(
        target_escape_rate, no_review, f1_max, cost_false_reject, cost_escape, cost_review,
        defect_rate,
    )  # fmt: skip
    if (data is None) == (images is None):
        raise CalibrationError("give either DATA or --images DIR, and not both")
    if (goal is None) != (defects is None):
        raise CalibrationError(
            "--defects DIR goes with --target-escape-rate, --f1-max or the costs, and they with it"
        )
    checkpoint = store.load(name, version)
    good = (
        held_out_of_training(checkpoint, data, category)
        if data is not None
        else new_images(checkpoint, images or Path(), category)
    )
    bad = [] if defects is None else defective_examples(defects, good)
    _fit(store, checkpoint, good, bad, goal, alpha, review_alpha, batch_size, device)
    return None


def _fit(
    store: "CheckpointStore", checkpoint: "Checkpoint", good: list["Sample"],
    defects: list["Sample"], goal: "Goal | None", alpha: float, review_alpha: float | None,
    batch_size: int, device: str,
) -> None:  # fmt: skip
    from model.cli.watching import counting
    from model.runtimes.torch import open_checkpoint
    from model.training import calibrate as fit
    from model.training.data import digests

    detector = open_checkpoint(checkpoint, device=device)
    with counting(len(good) + len(defects), "calibrating") as advance:
        calibrations = fit(
            detector,
            checkpoint.scoring,
            good,
            alpha,
            review_alpha=review_alpha,
            defects=defects,
            goal=goal,
            batch_size=batch_size,
            advance=advance,
        )
    source = "; ".join(
        f"{kind} {category}, {digest}"
        for kind, samples in (("good", good), ("defective", defects))
        for category, digest in digests(samples).items()
    )
    # Rates at the old thresholds are no longer true of this checkpoint.
    saved = store.update(checkpoint, calibrations=calibrations, metrics={}, source=source)
    for part, calibration in calibrations.items():
        review = calibration.review_threshold
        band = "" if review is None else f", REVIEW above {review:.6g}"
        print(f"{part}: threshold {calibration.image_threshold:.6g}{band}. {calibration.promise()}")
    number = saved.manifest.calibration_version
    print(
        f"{checkpoint.name}, version {checkpoint.version}, has calibration {number}; evaluate it "
        "again"
    )


def _look_back(store: "CheckpointStore", name: str, version: str | None, use: int | None) -> None:
    from model.calibration.calibration import Calibration
    from model.checkpoints.manifest import Manifest

    if use is not None:
        checkpoint = store.load(name, version)
        entry = checkpoint.manifest.calibration(use)
        again = {k: Calibration.from_dict(v) for k, v in entry.calibrations.items()}
        source = f"calibration {use} again ({entry.source})"
        store.update(checkpoint, calibrations=again, metrics={}, source=source)
    manifest = Manifest.read(store.find(name, version))
    print(f"{manifest.name}, version {manifest.version}:")
    if not manifest.calibration_log:
        print(f"  calibration {manifest.calibration_version}, as it was made" if
              manifest.calibrations else "  not calibrated yet")  # fmt: skip
    for entry in manifest.calibration_log:
        print(f"  calibration {entry.version}, {entry.created}: {entry.source}")
        for category, values in entry.calibrations.items():
            print(f"    {category}: threshold {values['image_threshold']:.6g}")


def defective_examples(folder: Path, good: list["Sample"]) -> list["Sample"]:
    """Return the images in `folder`, and in its folders by kind, of the categories in `good`."""
    from model.dataset import IMAGE_SUFFIXES, Sample

    categories = sorted({sample.category for sample in good})
    single = len(categories) == 1 and not (folder / categories[0]).is_dir()
    found: list[Sample] = []
    for category in categories:
        place = folder if single else folder / category
        paths = sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise CalibrationError(f"no defective examples of {category!r} in {place}")
        kinds = [p.parent.name if p.parent != place else "defective" for p in paths]
        if "good" in kinds:
            raise CalibrationError(f"{place} holds a folder 'good': give defective examples alone")
        found += [Sample(p, category, kind) for p, kind in zip(paths, kinds, strict=True)]
    return found


def new_images(
    checkpoint: "Checkpoint", folder: Path, categories: list[str] | None
) -> list["Sample"]:
    """Return the good images in `folder` of the categories named, or of those calibrated for."""
    from model.training.data import read_good_categories

    chosen = categories or list(checkpoint.manifest.categories)
    if not chosen:
        raise CalibrationError(f"{checkpoint.name!r} has no categories yet: name one by --category")
    return read_good_categories(folder, chosen)


def held_out_of_training(
    checkpoint: "Checkpoint", data: Path, categories: list[str] | None
) -> list["Sample"]:
    """Return the very images that were held out when the checkpoint was trained on `data`."""
    from model.training import read_training_data
    from model.training.data import digests

    training = checkpoint.manifest.training
    if "recipe" not in training:
        raise CalibrationError(
            f"{checkpoint.name!r} was not trained here, so which images of {data} it has learned "
            "from is not known: give good images that it has not seen by --images DIR"
        )
    if training["recipe"].get("folds"):
        raise CalibrationError(
            f"{checkpoint.name!r} was trained in folds, on all good images: there are none held "
            "out; give good images that it has not seen by --images DIR"
        )
    fraction, seed = training["recipe"]["held_out_fraction"], training["recipe"]["seed"]
    samples = list(read_training_data(data, categories, None, fraction, seed).held_out)
    recorded = training["images"]["held_out"]
    for category, found in digests(samples).items():
        if found != recorded.get(category):
            raise CalibrationError(
                f"the held-out images of {category!r} in {data} are not those of the training "
                f"({found}, then {recorded.get(category, 'none')}): some may have been learned "
                "from; give good images that were not by --images DIR"
            )
    return samples
