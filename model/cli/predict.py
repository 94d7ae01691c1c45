"""`mambaad predict`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.early import writable_folder
from model.cli.options import (
    STORE,
    BatchSize,
    Device,
    Engine,
    MaxPixels,
    Name,
    Precision,
    Version,
    Weights,
)
from model.errors import ImageError, NonFiniteOutput, UnknownCategory
from model.images.arguments import named_images, picture_files
from model.names import safe_name

if TYPE_CHECKING:
    from PIL.Image import Image

    from model.calibration.calibration import Calibration
    from model.checkpoints.manifest import Manifest
    from model.inference.detector import Detector
    from model.inspection import Inspection

FOUND_NG = 1
"""Exit code of --fail-on-ng when a part is NG."""
NOT_INSPECTED = 2
"""Exit code when a part could not be inspected, or its heatmap could not be written."""


def predict(
    name: Name,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, or patterns in quotes."),
    ],
    *,
    category: Annotated[
        str | None,
        typer.Option(help="The images' category; not needed for a checkpoint with one category."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each image with its heatmap on top, as PNG."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one line per image.")
    ] = False,
    fail_on_ng: Annotated[
        bool, typer.Option("--fail-on-ng", help="Exit with 1 when a part is NG.")
    ] = False,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    engine: Engine = "torch",
    precision: Precision = "float32",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Inspect images: decision, score (0 to 1, 0.5 at the threshold), raw score and threshold.

    Exit code: 2 if an image could not be inspected; else 1 if an image is NG and
    --fail-on-ng is given; else 0. For example:

      mambaad predict bottle shots/*.png --output heatmaps

      mambaad predict bottle shots --output heatmaps

      mambaad predict all-parts shot.png --category bottle --json --fail-on-ng

      mambaad predict bottle shot.png --engine openvino
    """
    from model.checkpoints.manifest import Manifest
    from model.checkpoints.store import Store
    from model.inference.engine import name_of

    writable_folder(output, "--output")
    named = named_images(images)
    if not any(image.path.exists() for image in named):
        raise ImageError(f"no file {named[0].path}: expected images, folders or patterns in quotes")
    pictures = {} if output is None else picture_files(named, output)
    folder = Store(weights).find(name, version)
    manifest = Manifest.read(folder)
    chosen = choose_category(manifest, category)
    from model.imports.meta_kernels import leave_out_meta_kernels
    from model.runtimes.offline import Choice, check_engine, open_version

    choice = Choice(engine, precision, device)
    check_engine(manifest, choice)
    if device == "cpu":  # as in a worker of the service
        leave_out_meta_kernels()
    checkpoint, detector = open_version(folder, choice)
    computed_by = name_of(detector.engine)
    worst = 0
    if not as_json:
        print(
            f"{'decision':9}  {'score':>6}  {'raw score':>10}  {'threshold':>10}  {'engine':20}  "
            "image"
        )
    paths = [image.path for image in named]
    for start in range(0, len(paths), batch_size):
        for outcome in inspect_all(detector, paths[start : start + batch_size], chosen):
            print(line_of(outcome, as_json, computed_by))
            worst = max(worst, code_of(outcome, fail_on_ng))
            if outcome.path in pictures and not saved(
                outcome, pictures[outcome.path], checkpoint.calibrations[chosen]
            ):
                worst = NOT_INSPECTED
    if worst:
        raise typer.Exit(worst)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """An image and its inspection, or the error that prevented it."""

    path: Path
    image: "Image | None" = None
    inspection: "Inspection | None" = None
    error: Exception | None = None


def inspect_all(detector: "Detector", paths: Sequence[Path], category: str) -> list[Outcome]:
    """Inspect a batch of image files; an unusable image does not stop the others."""
    opened = [_open(detector, path) for path in paths]
    images = [outcome.image for outcome in opened if outcome.image is not None]
    try:
        inspections = iter(detector.inspect_images(images, category) if images else [])
    except (ImageError, NonFiniteOutput) as error:
        if len(paths) == 1:
            return [Outcome(paths[0], error=error)]
        return [outcome for path in paths for outcome in inspect_all(detector, [path], category)]
    return [
        outcome if outcome.image is None else replace(outcome, inspection=next(inspections))
        for outcome in opened
    ]


def _open(detector: "Detector", path: Path) -> Outcome:
    from PIL import Image

    from model.images.decoding import open_image

    try:
        return Outcome(path, detector.preprocessing.upright(open_image(path)))
    except (ImageError, OSError, Image.DecompressionBombError) as error:
        return Outcome(path, error=error)


def code_of(outcome: Outcome, fail_on_ng: bool) -> int:
    """Return the exit code for an image."""
    if outcome.inspection is None:
        return NOT_INSPECTED
    return FOUND_NG if fail_on_ng and outcome.inspection.decision == "NG" else 0


def saved(outcome: Outcome, file: Path, calibration: "Calibration") -> bool:
    """Write an inspected image with its heatmap on top; False if writing fails."""
    if outcome.inspection is None or outcome.image is None:
        return True
    try:
        write_overlay(file, outcome.image, outcome.inspection, calibration)
    except OSError as error:
        typer.echo(f"mambaad predict: {file} cannot be written: {error.strerror}", err=True)
        return False
    return True


def choose_category(manifest: "Manifest", category: str | None) -> str:
    """Return the given category, or the checkpoint's only one."""
    have = manifest.categories
    if category is None and len(have) == 1:
        return have[0]
    if category is not None and safe_name(category) in have:
        return safe_name(category)
    if not have:
        raise UnknownCategory(
            f"{manifest.name!r} is not calibrated, so it cannot decide: run mambaad calibrate "
            f"{manifest.name} --images DIR --category CATEGORY on good images"
        )
    problem = "no --category given" if category is None else f"no category {category!r}"
    raise UnknownCategory(f"{problem}; {manifest.name!r} has: {', '.join(have)}")


def line_of(outcome: Outcome, as_json: bool, computed_by: str) -> str:
    """Return the line to print for an image, or two lines if it was not inspected."""
    path, inspection = outcome.path, outcome.inspection
    if as_json:
        return json.dumps(to_json(outcome, computed_by))
    if inspection is None:
        return f"{'UNDECIDED':9}  {'':6}  {'':10}  {'':10}  {'':20}  {path}\n{'':11}{outcome.error}"
    return (
        f"{inspection.decision:9}  {inspection.score:6.4f}  {inspection.raw_score:10.6f}  "
        f"{inspection.threshold:10.6f}  {computed_by:20}  {path}"
    )


def to_json(outcome: Outcome, computed_by: str) -> dict[str, Any]:
    """Return an inspection without its map, or the error, as JSON values."""
    inspection = outcome.inspection
    if inspection is None:
        error = {"kind": type(outcome.error).__name__, "detail": str(outcome.error)}
        return {"image": str(outcome.path), "decision": "UNDECIDED", "error": error}
    return {
        "image": str(outcome.path),
        "category": inspection.category,
        "decision": str(inspection.decision),
        "score": inspection.score,
        "raw_score": inspection.raw_score,
        "threshold": inspection.threshold,
        "engine": computed_by,
        "regions": [asdict(region) for region in inspection.regions],
    }


def write_overlay(
    file: Path, image: "Image", inspection: "Inspection", calibration: "Calibration"
) -> None:
    """Write the upright image with its heatmap on top."""
    from model.images.preprocess import to_rgb
    from model.scoring.rendering import overlay, scale_scores

    scores = scale_scores(inspection.anomaly_map.values, calibration.pixel_score)
    file.parent.mkdir(parents=True, exist_ok=True)
    overlay(to_rgb(image), scores, inspection.regions).save(file)
