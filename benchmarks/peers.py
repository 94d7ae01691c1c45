"""Measures anomalib's models, in torch and in OpenVINO, beside this network on one CPU.

    python -m benchmarks.peers environment peers-env
    python -m benchmarks.peers run --environment peers-env --json benchmarks/results/peers-cpu.json

One image of 256 x 256. All networks stay ready in three processes, and take turns for some rounds,
so that a drifting machine affects all of them. Before each turn's timed calls is one that does not
count. anomalib and OpenVINO are in an environment of their own, never in the product's.

anomalib's networks have random weights, which do not change their speed. They are timed from
float32 pixels to score and map; this network from uint8 pixels to the decision with its regions.
OpenVINO's default precision is bfloat16 where the processor has AMX or AVX-512 BF16. With --json as
above, the tables in the documents are written too.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.loading import CannotMeasure
from benchmarks.peering import environment as peers_environment
from benchmarks.peering.running import Column, RunningHost, rounds_of, started
from benchmarks.peering.subjects import HOSTS, SUBJECTS, Host, hosts_of
from benchmarks.peers_table import RESULT, columns_of
from service.settings import available_cores

T = TypeVar("T")

INSTRUCTION_SETS = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 BF16": "avx512_bf16",
    "AMX": "amx_tile",
    "AMX BF16": "amx_bf16",
}
"""Instruction sets and their flags in /proc/cpuinfo."""

app = typer.Typer(help=__doc__.partition("\n")[0], no_args_is_help=True, add_completion=False)


def processor(cpu_info: str) -> dict[str, Any]:
    """Return the name and the instruction sets of a processor from the text of /proc/cpuinfo."""
    lines = [line.partition(":") for line in cpu_info.splitlines()]
    values = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    flags = values.get("flags", "").split()
    return {
        "processor": values.get("model name", "unknown"),
        "instruction_sets": [name for name, flag in INSTRUCTION_SETS.items() if flag in flags],
    }


def summary(measured: Mapping[Column, Sequence[float]]) -> list[dict[str, Any]]:
    """Return median and quartiles of each subject in each way, in milliseconds."""
    rows = []
    for (name, way), times_ms in measured.items():
        quartiles = np.percentile(times_ms, (25, 50, 75))
        low, median, high = (round(float(ms), 2) for ms in quartiles)
        row = {"subject": name, "way": way, "median_ms": median, "quartiles_ms": [low, high]}
        rows.append({**row, "times": len(times_ms), "least_ms": round(min(times_ms), 2)})
    return rows


def measure(
    chosen: Sequence[tuple[Host, list[str]]],
    python: Callable[[Host], Path],
    *,
    threads: int,
    rounds: int,
    times: int,
) -> dict[str, Any]:
    """Start the hosts, take turns, and return versions and times."""
    console = Console(stderr=True)
    bar = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*bar, console=console) as progress, ExitStack() as stack:
        task = progress.add_task("prepare", total=sum(len(names) for _, names in chosen))
        hosts: list[RunningHost] = []
        for host, names in chosen:
            ready = started(host, names, python(host), threads, lambda _: progress.advance(task))
            hosts.append(stack.enter_context(ready))
        turns = rounds * sum(len(host.columns) for host in hosts)
        task = progress.add_task("measure", total=turns)
        before = os.getloadavg()
        measured = rounds_of(hosts, rounds, times, lambda: progress.advance(task))
    modules = [host.module.rpartition(".")[2] for host, _ in chosen]
    return {
        "load_average": {"before": before, "after": os.getloadavg()},
        "environments": {
            module: dict(host.about) for module, host in zip(modules, hosts, strict=True)
        },
        "measured": summary(measured),
    }


@app.command("environment")
def make_environment(
    folder: Annotated[Path, typer.Argument(help="A new folder outside the repository.")],
) -> None:
    """Create the virtual environment with anomalib and OpenVINO, from pinned versions (2 GB)."""
    _or_exit(lambda: peers_environment.create(folder))
    print(f"ready: python -m benchmarks.peers run --environment {folder}")


@app.command()
def run(
    environment: Annotated[
        Path | None, typer.Option(help="The folder that the command `environment` made.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Repeatable; one of {', '.join(SUBJECTS)}.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each network.")] = 12,
    times: Annotated[int, typer.Option(min=1, help="Timed calls in a turn.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each network; by default, all cores.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Measure, and print the table."""
    from benchmarks.cpu import commit  # noqa: PLC0415

    unknown = sorted(set(only or ()) - set(SUBJECTS))
    if unknown:
        names = ", ".join(SUBJECTS)
        raise typer.BadParameter(f"{unknown[0]!r} is none of {names}", param_hint="--only")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {json_file.parent}", param_hint="--json")
    chosen = list(hosts_of(only or SUBJECTS, HOSTS))

    def measured() -> dict[str, Any]:
        own = Path(sys.executable)
        is_needed = any(host.is_peer for host, _ in chosen)
        peers = peers_environment.python_of(environment) if is_needed else own
        options = {"threads": threads or available_cores(), "rounds": rounds, "times": times}
        result = measure(chosen, lambda host: peers if host.is_peer else own, **options)
        return {**options, **result}

    result = {
        "command": shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]]),
        "commit": commit(),
        **processor(Path("/proc/cpuinfo").read_text("utf-8")),
        **_or_exit(measured),
    }
    print("\n".join(columns_of(result)))
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        if json_file.resolve() == RESULT:
            subprocess.run([sys.executable, "-m", "benchmarks.peers_table"], check=True)


def _or_exit(work: Callable[[], T]) -> T:
    """Return the result; if nothing can be measured, print why and exit with 1."""
    try:
        return work()
    except CannotMeasure as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
