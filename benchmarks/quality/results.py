"""One result: a set, a seed and a method, in a file of its own, so that a run can go on later."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.durable import write_durably
from model.inspection import Category


@dataclass(frozen=True, slots=True)
class ScoredImages:
    """One category's test images, in order.

    `scores` and `thresholds` have an entry for each way of reducing a map to a score. `draws` is
    the seed of the bootstrap: equal for all methods, and for seeds with the same test images.
    AUPRO, and its value in each resampling, are None without masks.
    """

    draws: int
    defects: list[str]
    scores: dict[str, list[float]]
    thresholds: dict[str, float]
    aupro: float | None
    aupro_replicates: list[float] | None

    @property
    def defective(self) -> np.ndarray:
        """Which images are defective."""
        return np.array([defect != "good" for defect in self.defects])

    def rejected(self, score: str) -> np.ndarray:
        """Return which images are above the threshold."""
        return np.array(self.scores[score]) > self.thresholds[score]


@dataclass(frozen=True, slots=True)
class Result:
    """A method's scores of one set and seed. `identity` determines everything that follows."""

    identity: dict[str, Any]
    method: str
    categories: dict[Category, ScoredImages]
    train_s: float
    inspect_ms: float
    machine: dict[str, Any]

    @property
    def set_name(self) -> str:
        """The name of the set."""
        return str(self.identity["set"]["name"])


def result_file(folder: Path, set_name: str, seed: int, method: str) -> Path:
    """Return the file of one result."""
    return folder / set_name / f"seed-{seed}" / f"{method.lower()}.json"


def write_result(result: Result, path: Path) -> None:
    """Write a result in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, (json.dumps(asdict(result)) + "\n").encode())


def read_result(path: Path, identity: Mapping[str, Any] | None = None) -> Result | None:
    """Return a result; None if there is none, or if it is not of this `identity`."""
    if not path.is_file():
        return None
    values = json.loads(path.read_text("utf-8"))
    if identity is not None and values["identity"] != identity:
        return None
    tested = {name: ScoredImages(**entry) for name, entry in values.pop("categories").items()}
    return Result(**values, categories=tested)
