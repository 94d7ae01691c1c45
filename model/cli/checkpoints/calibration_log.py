"""`mambaad calibrate --log` and `--use`: list and restore calibrations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def look_back(weights: Path, name: str, version: str | None, use: int | None) -> None:
    """Restore calibration `use`, if given, and list all calibrations."""
    from model.calibration.calibration import Calibration
    from model.checkpoints.manifest import Manifest
    from model.checkpoints.store import Store

    if use is not None:
        from model.checkpoints.checkpoint import CheckpointStore
        from model.checkpoints.seen import CalibrationImages
        from model.recorded import recorded_without

        store = CheckpointStore(weights)
        checkpoint = store.load(name, version)
        entry = checkpoint.manifest.calibration(use)
        again = {k: Calibration.from_dict(v) for k, v in entry.calibrations.items()}
        source = f"calibration {use} again ({entry.source})"
        images = CalibrationImages(again=use)
        metrics = recorded_without(checkpoint.manifest.metrics, again)
        store.update(checkpoint, calibrations=again, metrics=metrics, source=source, images=images)
    manifest = Manifest.read(Store(weights).find(name, version))
    print(f"{manifest.name}, version {manifest.version}:")
    if not manifest.calibrations:
        print("  not calibrated yet")
    elif not manifest.calibration_log:
        print(f"  calibration {manifest.calibration_version}, the original")
        list_thresholds(manifest.calibrations)
    for entry in manifest.calibration_log:
        print(f"  calibration {entry.version}, {entry.created}:")
        for part in entry.source.split("; "):
            print(f"    {part}")
        list_thresholds(entry.calibrations)


def list_thresholds(calibrations: Mapping[str, Mapping[str, Any]]) -> None:
    """Print each category's thresholds and goal."""
    for category, values in calibrations.items():
        print(f"    {category}")
        print(f"      threshold {values['image_threshold']:.6g}, alpha {values['alpha']:g}")
        if "review_threshold" in values:
            share = f", of {values['review_alpha']:g}" if "review_alpha" in values else ""
            print(f"      REVIEW above {values['review_threshold']:.6g}{share}")
        if "operating_point" in values:
            print(f"      goal: {values['operating_point']['goal']}")
