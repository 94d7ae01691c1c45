"""`mambaad predict`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import STORE, BatchSize, Device, MaxPixels, Name, Version, Weights
from model.errors import ImageError, UnknownCategory

if TYPE_CHECKING:
    from PIL.Image import Image

    from model.calibration.calibration import Calibration
    from model.checkpoints.checkpoint import Checkpoint
    from model.inspection import Inspection

FOUND_NG = 1
"""Exit code of --fail-on-ng when a part is NG."""


def predict(
    name: Name,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    *,
    category: Annotated[
        str | None,
        typer.Option(help="What the images show; not needed for a checkpoint of one category."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each image under its heatmap, as PNG."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line an image.")] = False,
    fail_on_ng: Annotated[
        bool, typer.Option("--fail-on-ng", help="Exit with 1 when a part is NG.")
    ] = False,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Inspect images: OK or NG, score (0 to 1, 0.5 at the threshold), raw score and threshold.

    For example:

      mambaad predict bottle shots/*.png --output heatmaps

      mambaad predict all-parts shot.png --category bottle --json --fail-on-ng
    """
    from model.checkpoints.checkpoint import CheckpointStore
    from model.images.decoding import open_image
    from model.runtimes.torch import open_checkpoint

    checkpoint = CheckpointStore(weights).load(name, version)
    chosen = choose_category(checkpoint, category)
    detector = open_checkpoint(checkpoint, device=device)
    pictures = output_files(images, output)
    seen_ng = False
    if not as_json:
        print(f"{'decision':8}  {'score':>6}  {'raw score':>10}  {'threshold':>10}  image")
    for start in range(0, len(images), batch_size):
        paths = images[start : start + batch_size]
        opened = [detector.preprocessing.upright(open_image(path)) for path in paths]
        for path, image, inspection in zip(
            paths, opened, detector.inspect_images(opened, chosen), strict=True
        ):
            print(line_of(path, inspection, as_json))
            seen_ng = seen_ng or inspection.decision == "NG"
            if output is not None:
                write_overlay(pictures[path], image, inspection, checkpoint.calibrations[chosen])
    if fail_on_ng and seen_ng:
        raise typer.Exit(FOUND_NG)


def choose_category(checkpoint: "Checkpoint", category: str | None) -> str:
    """Return the category asked for, or the only one that there is."""
    have = checkpoint.manifest.categories
    if category is None and len(have) == 1:
        return have[0]
    if category in have:
        return category
    if not have:
        raise UnknownCategory(
            f"{checkpoint.name!r} is not calibrated, so it cannot decide: run mambaad calibrate "
            f"{checkpoint.name} --images DIR --category CATEGORY on good images"
        )
    asked = "no --category given" if category is None else f"no category {category!r}"
    raise UnknownCategory(f"{asked}; {checkpoint.name!r} has: {', '.join(have)}")


def output_files(images: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    """Name the picture of each image, and refuse images whose pictures would take one name."""
    if output is None:
        return {}
    files = {path: output / f"{path.stem}.png" for path in images}
    taken: dict[Path, Path] = {}
    for path, file in files.items():
        other = taken.setdefault(file, path)
        if other != path:
            raise ImageError(f"{other} and {path} would both be written to {file}")
        if file.exists() and file.samefile(path):
            raise ImageError(f"{file} would overwrite the image itself: choose another --output")
    return files


def line_of(path: Path, inspection: "Inspection", as_json: bool) -> str:
    """Return the line printed for an image."""
    if as_json:
        return json.dumps(to_json(path, inspection))
    return (
        f"{inspection.decision:8}  {inspection.score:6.4f}  {inspection.raw_score:10.6f}  "
        f"{inspection.threshold:10.6f}  {path}"
    )


def to_json(path: Path, inspection: "Inspection") -> dict[str, Any]:
    """Return all of an inspection but its map as JSON values."""
    return {
        "image": str(path),
        "category": inspection.category,
        "decision": str(inspection.decision),
        "score": inspection.score,
        "raw_score": inspection.raw_score,
        "threshold": inspection.threshold,
        "regions": [asdict(region) for region in inspection.regions],
    }


def write_overlay(
    file: Path, image: "Image", inspection: "Inspection", calibration: "Calibration"
) -> None:
    """Write the image, upright, under its heatmap."""
    from model.images.preprocess import to_rgb
    from model.scoring.rendering import overlay, scale_scores

    scores = scale_scores(inspection.anomaly_map.values, calibration.pixel_score)
    file.parent.mkdir(parents=True, exist_ok=True)
    overlay(to_rgb(image), scores, inspection.regions).save(file)
