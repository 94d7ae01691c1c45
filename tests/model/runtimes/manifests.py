"""Manifests of the shipped checkpoint with other agreements than its own."""

import json
from pathlib import Path

from model.checkpoints.manifest import Manifest

SHIPPED = Path(__file__).parents[3] / "weights/solar/3"
GOOD = {"images": 20, "difference": 0.004, "decisions": 0}
FAR = GOOD | {"difference": 0.02}


def manifest(**agreements):
    """Return its manifest with these agreements by precision, of every category."""
    values = json.loads((SHIPPED / "manifest.json").read_text("utf-8"))
    of = {p: dict.fromkeys(values["calibrations"], a) for p, a in agreements.items()}
    return Manifest.from_values(values | {"agreements": of})
