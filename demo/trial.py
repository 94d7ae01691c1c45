"""One trial of the demonstration: train and evaluate by the commands that users have."""

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
    """Return what `mambaad evaluate --json` writes of a network trained with `options`.

    `data` is laid out as `demo.solar prepare` does it. The store, the run and the result stay in
    `folder`; a result that is there already is returned as it is. Raises `CalledProcessError`.
    """
    result = folder / "result.json"
    if not result.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        store = ("--weights", str(folder / "weights"))
        run = ("--runs", str(folder / "runs"), "--restart", "--recipe", RECIPE)
        _call("train", str(data), "--name", NAME, *store, *run, *options)
        rivals = ["--baselines"] if baselines else []
        _call("evaluate", NAME, str(data), *store, *rivals, "--no-record", "--json", str(result))
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _call(*arguments: str) -> None:
    subprocess.run([*MAMBAAD, *arguments], check=True)
