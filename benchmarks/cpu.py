"""Measures all CPU figures in docs/understand.md, in under 4 minutes on a quiet machine.

    python -m benchmarks.cpu        # or: make bench-cpu

Times the paper's configuration and the shipped checkpoint at batch 1 and 8, from pixels to
decisions, with all of the processor's instructions and with AVX2 only, and measures the floor of
both. Writes benchmarks/results/cpu-native.json and cpu-avx2.json, and the tables in
docs/understand.md and benchmarks/results/README.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.settings import tune_torch

RESULTS = Path(__file__).parent / "results"
BATCH_SIZES = (1, 8)
HELD_TO_AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+bmi,+f16c",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
CONDITIONS: dict[str, dict[str, str]] = {"native": {}, "avx2": HELD_TO_AVX2}


def measured(condition: str, checkpoint: str, repeats: int) -> dict[str, Any]:
    """Measure in this process, whose environment must already be that of `condition`."""
    from benchmarks.floor import measure_floor  # noqa: PLC0415 - torch reads the environment
    from model.benchmark import Subject, device_name, measure, of_checkpoint, of_paper, versions  # noqa: PLC0415
    from model.checkpoints.checkpoint import CheckpointStore  # noqa: PLC0415

    shipped = CheckpointStore(Path("weights")).load(checkpoint)
    subjects = {"paper": of_paper("cpu"), "shipped": of_checkpoint(shipped, "cpu")}

    def floor(subject: Subject) -> dict[str, Any]:
        unused = subject.detector.scoring.unused_scales
        return measure_floor(subject.network, unused).to_dict()

    timings = []
    for kind, subject in subjects.items():
        for batch_size in BATCH_SIZES:
            timing = measure(subject, batch_size, max(2, repeats // batch_size))
            print(timing.text(), end="\n\n", flush=True)
            timings.append({"subject": kind, **timing.to_dict()})
    return {
        "condition": condition,
        "device_name": device_name("cpu"),
        "versions": versions(),
        "commit": commit(),
        "floor": {kind: floor(subject) for kind, subject in subjects.items()},
        "timings": timings,
    }


def commit() -> str | None:
    """Return the commit, with "+" if files have changed since; None without git."""
    head, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "-uno")
    return head + "+" * bool(changed) if head else None


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main(
    checkpoint: Annotated[str, typer.Option(help="A checkpoint's name.")] = "solar",
    repeats: Annotated[
        int, typer.Option(min=2, help="Number of batches of 1; of 8, an eighth as many.")
    ] = 24,
    condition: Annotated[
        str | None, typer.Option(help="Measure only this condition, in this process; internal.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The folder for the results.")] = RESULTS,
) -> None:
    """Measure under both conditions, each in a new process, and write the tables."""
    if condition is not None:
        result = measured(condition, checkpoint, repeats)
        results.mkdir(parents=True, exist_ok=True)
        (results / f"cpu-{condition}.json").write_text(json.dumps(result, indent=2) + "\n")
        return
    tune_torch()  # like `mambaad`
    options = ["--checkpoint", checkpoint, "--repeats", str(repeats), "--results", str(results)]
    for name, variables in CONDITIONS.items():
        environment = {**os.environ, **variables}
        command = [sys.executable, "-m", "benchmarks.cpu", "--condition", name, *options]
        subprocess.run(command, env=environment, check=True)
    if results == RESULTS:
        subprocess.run([sys.executable, "-m", "benchmarks.performance_table"], check=True)


if __name__ == "__main__":
    typer.run(main)
