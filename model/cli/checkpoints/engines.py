"""Measures for `mambaad calibrate` whether OpenVINO scores as torch does."""

from typing import TYPE_CHECKING

from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
    from model.checkpoints.manifest import Manifest
    from model.dataset import Sample


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


def compare_engines(
    store: "CheckpointStore", checkpoint: "Checkpoint", samples: list["Sample"]
) -> None:
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
