"""The section `training` of a manifest whose network was checked with drawn defects."""

from typing import Any

import numpy as np

from model.calibration.calibration import Calibration
from model.synthetic import Kind, Strength
from model.training.advice import Recommendation, conclude
from model.training.advice.promises import outlook
from model.training.advice.scores import DrawnPart, Scores
from model.training.advice.sentences import (
    next_steps,
    sentences_of_findings,
    sentences_of_outlook,
)

CATEGORY = "bolt"
GAINS = {"MambaAD": 0.5, "PaDiM": 0.6, "PatchCore": 2.5}


def checked(calibration: Calibration, rounds: int = 8, parts: int = 12) -> dict[str, Any]:
    """Return the entries for parts whose drawn defects PatchCore finds best."""
    rng = np.random.default_rng(0)
    middle, scale = calibration.image_threshold - 2, 1.0
    good = {name: tuple(rng.normal(middle, scale, parts).tolist()) for name in GAINS}
    drawn = [
        DrawnPart(
            number % parts,
            kind.value,
            strength.value,
            {
                name: good[name][number % parts] + gain * (place + 1) + float(rng.normal())
                for name, gain in GAINS.items()
            },
        )
        for number in range(rounds)
        for kind in Kind
        for place, strength in enumerate(Strength)
    ]
    scores = Scores(good, tuple(drawn), trained_on=48, fitted_on=48)
    check = conclude({CATEGORY: scores}, {CATEGORY: calibration}, seed=0)
    view = outlook(calibration, 60, 0.2)
    steps = next_steps({"recipe": {"epochs": 6}}, {}, {}, 60)
    sentences = (
        *sentences_of_outlook(view),
        *sentences_of_findings(check.findings[CATEGORY], view, steps, None),
    )
    return Recommendation(
        outlooks={CATEGORY: view}, sentences={CATEGORY: sentences}, check=check
    ).to_dict()
