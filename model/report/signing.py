"""The block that a person signs: the identity of checkpoint and data, and the thresholds."""

from model.checkpoints.manifest import Manifest
from model.evaluation.assessment import Assessment
from model.inference.detector import Detector
from model.report.facts import Facts
from model.report.subject import Subject

ROLES = ("Prepared by", "Checked by", "Approved by")


def identity_facts(manifest: Manifest, assessment: Assessment) -> Facts:
    """Return what was evaluated: the checkpoint with its files' hashes, and the test data."""
    return [
        ("Checkpoint", f"{manifest.name}, version {manifest.version}, of {manifest.created}"),
        ("Calibration", f"version {manifest.calibration_version}"),
        *((f"sha256 of {file}", digest) for file, digest in sorted(manifest.sha256.items())),
        ("Test data", assessment.data.text()),
    ]


def threshold_rows(detector: Detector, subject: Subject) -> list[tuple[str, str, str, str]]:
    """Return each category's thresholds for NG and REVIEW, and the target of false rejects."""
    rows = []
    for category in subject.evaluation.categories:
        calibration = detector.calibrations[category]
        review = calibration.review_threshold
        rows.append((
            category,
            f"{calibration.image_threshold:.6g}",
            "none" if review is None else f"{review:.6g}",
            f"{100 * calibration.alpha:.3g}",
        ))  # fmt: skip
    return rows
