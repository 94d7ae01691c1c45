"""`mambaad calibrate --log` and `--use`: the calibrations there have been."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import CheckpointStore


def look_back(store: "CheckpointStore", name: str, version: str | None, use: int | None) -> None:
    """Take up calibration `use` again where it is given, and list what there has been."""
    from model.calibration.calibration import Calibration
    from model.checkpoints.manifest import Manifest
    from model.checkpoints.seen import CalibrationImages

    if use is not None:
        checkpoint = store.load(name, version)
        entry = checkpoint.manifest.calibration(use)
        again = {k: Calibration.from_dict(v) for k, v in entry.calibrations.items()}
        source = f"calibration {use} again ({entry.source})"
        images = CalibrationImages(again=use)
        store.update(checkpoint, calibrations=again, metrics={}, source=source, images=images)
    manifest = Manifest.read(store.find(name, version))
    print(f"{manifest.name}, version {manifest.version}:")
    if not manifest.calibrations:
        print("  not calibrated yet")
    elif not manifest.calibration_log:
        print(f"  calibration {manifest.calibration_version}, as it was made")
        list_thresholds(manifest.calibrations)
    for entry in manifest.calibration_log:
        print(f"  calibration {entry.version}, {entry.created}:")
        for part in entry.source.split("; "):
            print(f"    {part}")
        list_thresholds(entry.calibrations)


def list_thresholds(calibrations: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what each category of a calibration is decided by, and what for."""
    for category, values in calibrations.items():
        print(f"    {category}")
        print(f"      threshold {values['image_threshold']:.6g}, alpha {values['alpha']:g}")
        if "review_threshold" in values:
            share = f", of {values['review_alpha']:g}" if "review_alpha" in values else ""
            print(f"      REVIEW above {values['review_threshold']:.6g}{share}")
        if "operating_point" in values:
            print(f"      goal: {values['operating_point']['goal']}")
