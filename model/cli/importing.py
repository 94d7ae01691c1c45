"""`mambaad import`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli.options import STORE, Device, Weights
from model.errors import CalibrationError


def import_checkpoint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A published checkpoint (.pth).", exists=True)
    ],
    *,
    name: Annotated[str, typer.Option(help="What to call the checkpoint.")],
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY", help="Calibrate for it; may be repeated."),
    ] = None,
    calibrate_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Good images that the network has not learned from: DIR/<category>/, or DIR "
            "itself for a single category.",
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The false-reject rate to promise.")] = 0.01,
    device: Device = "cpu",
    weights: Weights = STORE,
) -> None:
    """Bring a published MambaAD checkpoint into the store.

    Without good images to calibrate with it cannot decide until mambaad calibrate has run.

    For example:

      mambaad import net.pth --name mvtec

      mambaad import net.pth --name mvtec --category bottle --calibrate-images good/bottle
    """
    from model.anomaly import Scoring
    from model.calibration import Calibration
    from model.checkpoint import CheckpointStore
    from model.dataset import Sample
    from model.detector import Detector
    from model.official import load_state_dict, network_from_state_dict
    from model.preprocess import Preprocessing
    from model.training import calibrate
    from model.training.data import read_good_categories
    from model.training.golden import record_golden
    from model.weight_files import sha256

    if bool(category) != (calibrate_images is not None):
        raise CalibrationError("--category and --calibrate-images DIR go together")
    network = network_from_state_dict(load_state_dict(file)).eval()
    preprocessing = Preprocessing(
        image_size=network.config.image_size, mean=network.encoder.mean, std=network.encoder.std
    )
    scoring = Scoring()
    calibrations: dict[str, Calibration] = {}
    samples: list[Sample] = []
    detector = Detector(network, preprocessing, scoring, {}, device)
    if category and calibrate_images is not None:
        samples = read_good_categories(calibrate_images, category)
        calibrations = calibrate(detector, scoring, samples, alpha)
    source = {"imported_from": file.name, "sha256": sha256(file.read_bytes())}
    saved = CheckpointStore(weights).save(
        name,
        network,
        preprocessing,
        scoring,
        calibrations,
        training=source,
        metrics={},
        golden=record_golden(detector, samples, calibrations),
    )
    print(f"saved {saved.name}, version {saved.version}, in {weights}")
    for part, calibration in calibrations.items():
        print(f"{part}: {calibration.promise()}")
    if not calibrations:
        print(
            f"It has no thresholds and cannot decide yet: run mambaad calibrate {name} "
            "--images DIR --category CATEGORY on good images that it has not learned from."
        )
