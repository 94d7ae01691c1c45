"""The metadata of an exported file."""

import importlib.metadata
import json

from model.checkpoints.checkpoint import Checkpoint


def metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the file's metadata; values other than words are JSON."""
    calibrations = checkpoint.calibrations
    return {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "categories": json.dumps(list(checkpoint.manifest.categories)),
        "thresholds": json.dumps({k: calibrations[k].to_dict() for k in sorted(calibrations)}),
        "preprocessing": json.dumps(checkpoint.preprocessing.to_dict()),
        "scoring": json.dumps(checkpoint.scoring.to_dict()),
        "network": json.dumps(checkpoint.config.to_dict()),
        "sha256": json.dumps(checkpoint.manifest.sha256),
        "package_version": importlib.metadata.version("mambaad-service"),
        "license": checkpoint.manifest.license or "",
        "notice": checkpoint.manifest.notice or "",
    }
