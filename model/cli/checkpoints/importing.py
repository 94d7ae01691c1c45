"""`mambaad import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import STORE, Device, Weights, safe_names_of
from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.calibration.calibration import Calibration
    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.dataset import Sample
    from model.inference.detector import Detector
    from model.network import MambaAD


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published checkpoint (.pth).")],
    *,
    name: Annotated[str, typer.Option(help="The checkpoint's name in the store.")],
    category: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CATEGORY", callback=safe_names_of, help="A category to calibrate; repeatable."
        ),
    ] = None,
    calibrate_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Good images that were not used in training: DIR/<category>/, or DIR itself for "
            "a single category.",
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The false-reject rate to promise.")] = 0.01,
    device: Device = "cpu",
    weights: Weights = STORE,
) -> None:
    """Import a published MambaAD checkpoint into the store.

    Without good images for calibration, it cannot decide until you run mambaad calibrate.

    For example:

      mambaad import net.pth --name mvtec

      mambaad import net.pth --name mvtec --category bottle --calibrate-images good/bottle
    """
    from model.network.weights_source import check_weights_file

    if bool(category) != (calibrate_images is not None):
        raise CalibrationError("give both --category and --calibrate-images DIR, or neither")
    check_weights_file(file)
    from model.checkpoints.checkpoint import CheckpointStore

    network = read_network(file)
    subject = build_detector(network, device)
    samples = good_images(calibrate_images, category)
    calibrations = set_thresholds(subject, samples, alpha)
    saved = keep(CheckpointStore(weights), name, file, network, subject, samples, calibrations)
    print(f"saved {saved.name}, version {saved.version}, in {weights}")
    for part, calibration in calibrations.items():
        print(f"{part}: {calibration.promise()}")
    if not calibrations:
        print(
            f"It has no thresholds and cannot decide yet: run mambaad calibrate {name} "
            "--images DIR --category CATEGORY with good images that were not used in training."
        )


def read_network(file: Path) -> "MambaAD":
    """Return the network in a published file."""
    from model.checkpoints.published import load_state_dict, network_from_state_dict

    return network_from_state_dict(load_state_dict(file))


def build_detector(network: "MambaAD", device: str) -> "Detector":
    """Return a detector without thresholds."""
    from model.images.preprocess import Preprocessing
    from model.runtimes.torch import torch_detector
    from model.scoring.scores import Scoring

    preprocessing = Preprocessing(
        image_size=network.config.image_size, mean=network.encoder.mean, std=network.encoder.std
    )
    return torch_detector(network, preprocessing, Scoring(), {}, device)


def good_images(folder: Path | None, categories: list[str] | None) -> list["Sample"]:
    """Return the images for calibration, or an empty list."""
    from model.training.data import read_good_categories

    return read_good_categories(folder, categories) if folder and categories else []


def set_thresholds(
    detector: "Detector", samples: list["Sample"], alpha: float
) -> dict[str, "Calibration"]:
    """Return thresholds from the good images; empty without images."""
    from model.training import calibrate

    return calibrate(detector, detector.scoring, samples, alpha) if samples else {}


def keep(
    store: "CheckpointStore",
    name: str,
    file: Path,
    network: "MambaAD",
    detector: "Detector",
    samples: list["Sample"],
    calibrations: dict[str, "Calibration"],
) -> "Checkpoint":
    """Save the network with golden images and its origin."""
    from model.checkpoints.files import sha256
    from model.checkpoints.seen import SeenImages
    from model.training.golden import record_golden
    from model.training.seen import seen_in_calibration

    seen = SeenImages(None, {1: seen_in_calibration(samples, [])}) if samples else None
    return store.save(
        name,
        network,
        detector.preprocessing,
        detector.scoring,
        calibrations,
        training={"imported_from": file.name, "sha256": sha256(file.read_bytes())},
        metrics={},
        golden=record_golden(detector, samples, calibrations),
        seen=seen,
    )
