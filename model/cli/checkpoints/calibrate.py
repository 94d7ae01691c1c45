"""`mambaad calibrate`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.checkpoints import goals
from model.cli.checkpoints.calibration_log import look_back
from model.cli.checkpoints.good_images import held_out_of_training, new_images
from model.cli.early import find_data, find_images, find_version, share
from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Defective,
    Device,
    Good,
    MaxPixels,
    Name,
    Version,
    Weights,
)
from model.errors import CalibrationError, DatasetError

if TYPE_CHECKING:
    from model.calibration.calibration import Calibration
    from model.calibration.operating_point import Goal
    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.checkpoints.manifest import Manifest
    from model.dataset import Sample
    from model.training.thresholds import Shown


def calibrate(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="The training data; uses its held-out images."),
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
    good_name: Good = None,
    defective_name: Defective = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="The false-reject rate to promise; by default the previous one.",
            show_default=False,
        ),
    ] = None,
    review_alpha: Annotated[
        float | None,
        typer.Option(help="Open a REVIEW band: the share of good parts in REVIEW or NG."),
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
        bool, typer.Option("--log", help="List all calibrations so far, and exit.")
    ] = False,
    use: Annotated[
        int | None, typer.Option(metavar="N", help="Restore calibration N of the log.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Accept images whose scores differ from the previous ones."),
    ] = False,
    keep_thresholds: Annotated[
        bool,
        typer.Option(
            "--keep-thresholds",
            help="Change no threshold; only measure whether OpenVINO scores the images alike.",
        ),
    ] = False,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Recalibrate a checkpoint's thresholds on good images that were not used in training.

    The network does not change, and the log keeps the previous thresholds.
    Without --force, images whose scores differ from the previous ones are refused.

    For example:

      mambaad calibrate bottle data/mvtec --alpha 0.005

      mambaad calibrate bottle --images line-3/good --category bottle

      mambaad calibrate bottle data/mvtec --defects rejects --target-escape-rate 0.02

      mambaad calibrate bottle data/mvtec --defects rejects --cost-false-reject 2 --cost-escape 500

      mambaad calibrate bottle data/mvtec --keep-thresholds
    """
    manifest = find_version(weights, name, version)
    if show_log or use is not None:
        if use is not None:
            manifest.calibration(use)
        return look_back(weights, name, version, use)
    goal = goals.goal_of(
        target_escape_rate, no_review, f1_max, cost_false_reject, cost_escape, cost_review,
        defect_rate,
    )  # fmt: skip
    if (data is None) == (images is None):
        raise CalibrationError("give either DATA or --images DIR, not both")
    if (goal is None) != (defects is None):
        raise CalibrationError(
            "--defects DIR needs --target-escape-rate, --f1-max or the costs, and these need it"
        )
    share("--alpha", alpha)
    share("--review-alpha", review_alpha)
    if keep_thresholds:
        check_comparable(manifest, is_alone=goal is None and alpha is None and review_alpha is None)
    if data is not None:
        find_data(data)
        good = held_out_of_training(manifest, data, category, good_name, defective_name)
    else:
        folder = images or Path()
        find_images(folder, "--images")
        good = new_images(manifest, folder, category)
    if defects is not None:
        find_images(defects, "--defects")
    bad = [] if defects is None else defective_examples(defects, good)
    from model.checkpoints.checkpoint import CheckpointStore

    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    if keep_thresholds:
        _compare(store, checkpoint, good)
        return None
    request = Asked(
        goal=goal,
        alphas=alphas_of(checkpoint, {sample.category for sample in good}, alpha),
        review_alpha=review_alpha,
        force=force,
    )
    _fit(store, checkpoint, good, bad, request, batch_size, device)
    _compare(store, checkpoint, [*good, *bad])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The requested thresholds; `alphas` by category."""

    goal: "Goal | None"
    alphas: dict[str, float]
    review_alpha: float | None
    force: bool


def alphas_of(
    checkpoint: "Checkpoint", categories: Collection[str], alpha: float | None
) -> dict[str, float]:
    """Return the given rate, or else each category's previous one, or the recipe's."""
    if alpha is not None:
        return dict.fromkeys(categories, alpha)
    recipe = checkpoint.manifest.training.get("recipe", {})
    former = checkpoint.calibrations
    return {
        category: former[category].alpha if category in former else recipe.get("alpha", 0.01)
        for category in categories
    }


def check_alike(checkpoint: "Checkpoint", shown: Mapping[str, "Shown"]) -> None:
    """Raise `CalibrationError` if the good images score unlike those of the current thresholds."""
    from model.calibration.likeness import compare_good

    for category, images in shown.items():
        former = checkpoint.calibrations.get(category)
        likeness = former and compare_good(former, images.raw_scores)
        if former and likeness and not likeness.is_alike:
            raise CalibrationError(
                f"these {len(images.raw_scores)} images of {category!r} are not like the "
                f"{likeness.good_images} good ones that set its threshold of "
                f"{former.image_threshold:.6g}: their median raw score is {likeness.median:.6g}, "
                f"expected {likeness.low:.6g} to {likeness.high:.6g}. Nothing was changed. Is "
                "it the right folder, and are all of them good? If the line itself has changed, "
                "--force calibrates with them"
            )


def _fit(
    store: "CheckpointStore", checkpoint: "Checkpoint", good: list["Sample"],
    defects: list["Sample"], request: Asked, batch_size: int, device: str,
) -> None:  # fmt: skip
    from model.cli.watching import counting
    from model.recorded import recorded_without
    from model.runtimes.torch import open_checkpoint
    from model.training import calibrate as fit
    from model.training.data import digests
    from model.training.seen import seen_in_calibration

    detector = open_checkpoint(checkpoint, device=device)
    with counting(len(good) + len(defects), "calibrating") as advance:
        calibrations = fit(
            detector,
            checkpoint.scoring,
            good,
            request.alphas,
            review_alpha=request.review_alpha,
            defects=defects,
            goal=request.goal,
            batch_size=batch_size,
            advance=advance,
            check=lambda shown: None if request.force else check_alike(checkpoint, shown),
        )
    source = "; ".join(
        f"{kind} {category}, {digest}"
        for kind, samples in (("good", good), ("defective", defects))
        for category, digest in digests(samples).items()
    )
    # Recorded rates of these categories belong to the old thresholds, so they are deleted.
    saved = store.update(
        checkpoint,
        calibrations=calibrations,
        metrics=recorded_without(checkpoint.manifest.metrics, calibrations),
        source=source,
        images=seen_in_calibration(good, defects),
    )
    tell(checkpoint, calibrations)
    number = saved.manifest.calibration_version
    print(
        f"{checkpoint.name}, version {checkpoint.version}, has calibration {number}; evaluate it "
        "again"
    )


def tell(checkpoint: "Checkpoint", calibrations: Mapping[str, "Calibration"]) -> None:
    """Print the new and the previous thresholds, and what the new ones promise."""
    for part, calibration in calibrations.items():
        was = checkpoint.calibrations.get(part)
        before = f" (was {was.image_threshold:.6g})" if was else ""
        review = calibration.review_threshold
        band = "" if review is None else f", REVIEW above {review:.6g}"
        threshold = f"{calibration.image_threshold:.6g}{before}{band}"
        print(f"{part}: threshold {threshold}. {calibration.promise()}")
        if was and was.review_threshold is not None and review is None:
            print(f"{part}: no REVIEW band any more; --review-alpha or a goal opens one")


def check_comparable(manifest: "Manifest", *, is_alone: bool) -> None:
    """Raise an error if OpenVINO cannot be compared with torch, or thresholds are asked for too."""
    from model.errors import BackendUnavailable
    from model.runtimes.agreements import SMALLEST_PX, is_worth_measuring
    from model.runtimes.runtimes import OPENVINO, library_for

    if not is_alone:
        raise CalibrationError("--keep-thresholds cannot be used with options for thresholds")
    library_for(manifest, OPENVINO)
    if not is_worth_measuring(manifest):
        raise BackendUnavailable(
            f"{manifest.name}/{manifest.version} has inputs of fewer than {SMALLEST_PX} pixels, "
            "which torch computes in a few ms: it always does"
        )


def _compare(store: "CheckpointStore", checkpoint: "Checkpoint", samples: list["Sample"]) -> None:
    """Measure OpenVINO's agreement with the new thresholds, if it is installed, and print it."""
    from model.runtimes.agreements import with_agreements

    calibrated = store.load(checkpoint.name, checkpoint.version)
    categories = {sample.category for sample in samples}
    for precision, of in with_agreements(store, calibrated, samples).manifest.agreements.items():
        for part in sorted(of.keys() & categories):
            measured = of[part]
            print(
                f"{part}: OpenVINO in {precision} changes scores by up to "
                f"{measured.difference:.2g}, and {measured.decisions} of {measured.images} "
                f"decisions: it {'may' if measured.holds else 'will not'} be used"
            )


def defective_examples(folder: Path, good: list["Sample"]) -> list["Sample"]:
    """Return the images in `folder` and its folders by kind, for the categories in `good`."""
    from model.dataset import defective_parts

    categories = sorted({sample.category for sample in good})
    single = len(categories) == 1 and not (folder / categories[0]).is_dir()
    places = {name: folder if single else folder / name for name in categories}
    try:
        return [s for name, place in places.items() for s in defective_parts(place, name)]
    except DatasetError as error:
        raise CalibrationError(str(error)) from error
