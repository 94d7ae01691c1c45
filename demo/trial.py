"""One trial of the demonstration: trains and evaluates with the users' commands."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.loading.serving import MAMBAAD

NAME = "solar"
RECIPE = "fast"


def run_trial(
    data: Path, folder: Path, options: Sequence[str] = (), baselines: bool = False
) -> dict[str, Any]:
    """Train a network with `options`; return the result of `mambaad evaluate --json`.

    `data` has the layout of `demo.solar prepare`. `folder` gets the store, the run and the result;
    an existing result is returned without training. Raises `CalledProcessError`.
    """
    result = folder / "result.json"
    if not result.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        store = ("--weights", str(folder / "weights"))
        run = ("--runs", str(folder / "runs"), "--restart", "--recipe", RECIPE)
        _call("train", str(data), "--name", NAME, "--no-self-check", *store, *run, *options)
        rivals = ["--baselines"] if baselines else []
        _call("evaluate", NAME, str(data), *store, *rivals, "--no-record", "--json", str(result))
    figures: dict[str, Any] = json.loads(result.read_text())
    return figures


def _call(*arguments: str) -> None:
    subprocess.run([*MAMBAAD, *arguments], check=True)
