"""Times commands that a person waits for: a mistyped option, and the inspection of one image.

    python -m benchmarks.commands --json benchmarks/results/commands-cpu.json

Each command runs several times in a new process. The processor's seconds (user and system) hardly
depend on other load on the machine, so they stand beside the seconds on the clock. The first
inspection compiles kernels into an empty folder, as on a machine that has never run any.
"""

import json
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.loading.serving import MAMBAAD, ROOT

_IMAGE = "samples/solar-mono/defective-1.png"
COMMANDS = {
    "unknown option": "train --bogus",
    "unknown recipe": "train samples --name x --recipe fats",
    "impossible value": "train samples --name x --image-size 7",
    "unknown checkpoint": f"predict nosuch {_IMAGE}",
    "help": "train --help",
    "one image": f"predict solar {_IMAGE} --category solar-mono",
}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one process: on the clock, and of the processor."""

    wall_s: float
    cpu_s: float


def timed(line: str, environment: Mapping[str, str]) -> Took:
    """Run `mambaad` with these arguments, whatever its exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [*MAMBAAD, *shlex.split(line)], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, check=False,
    )  # fmt: skip
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def middle(runs: Sequence[Took]) -> Took:
    """Return the median of each."""
    return Took(median(run.wall_s for run in runs), median(run.cpu_s for run in runs))


def main(
    runs: Annotated[int, typer.Option(min=1, help="Runs of each command.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Time each command, and the first inspection of a machine."""
    with TemporaryDirectory() as empty:
        first = timed(COMMANDS["one image"], {"NUMBA_CACHE_DIR": empty})
    timed(COMMANDS["one image"], {})  # fills the caches
    seconds = {
        name: middle([timed(line, {}) for _ in range(runs)]) for name, line in COMMANDS.items()
    }
    for name, took in (seconds | {"one image, kernels compiled": first}).items():
        print(f"{name:<28} {took.cpu_s:6.2f} s of the processor, {took.wall_s:6.2f} s")
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.commands", *sys.argv[1:]]),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "runs": runs,
        "medians": {name: asdict(took) for name, took in seconds.items()},
        "one image, kernels compiled": asdict(first),
    }
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
