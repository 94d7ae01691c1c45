"""Times the scan and inspections on a GPU, against the published way and the floor.

    python -m benchmarks.gpu --json benchmarks/results/gpu-h100.json

Takes under 8 minutes on a CUDA device. `--dry-run` tests the script: every step at tiny sizes on
the CPU, with kernels in Triton's interpreter if installed; its times mean nothing. Without a GPU,
`--not-measured` writes an empty result with the same schema.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.gpu_parts import ends, scans
from benchmarks.gpu_parts.ceilings import ceilings
from benchmarks.gpu_parts.clock import device_for
from benchmarks.gpu_parts.targets import Verdict, verdicts
from benchmarks.gpu_parts.yardsticks import yardsticks
from model.benchmark import device_name, versions
from model.checkpoints.checkpoint import CheckpointStore
from model.engines.cuda.engine import CudaShare

NOT_MEASURED = "no CUDA device was at hand when this was written"
_OPTIONAL = ("triton", "mamba_ssm")
_INTERPRET = "TRITON_INTERPRET"


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes to measure."""

    batch_sizes: tuple[int, ...]
    copied_megabytes: int
    product_side: int
    repeats: int
    tiny: bool


FULL = Sizes((1, 8, 32), 1024, 8192, 100, tiny=False)
DRY = Sizes((1, 2), 1, 32, 1, tiny=True)


def main(
    device: str = "cuda:0",
    checkpoint: Annotated[str, typer.Option(help="A checkpoint's name.")] = "solar",
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tiny, on the CPU.")] = False,
    not_measured: Annotated[
        bool, typer.Option("--not-measured", help="Write an empty result.")
    ] = False,
) -> None:
    """Measure, print the verdicts on the targets, and write everything as JSON."""
    if not_measured:
        result = _about(None) | _unmeasured(NOT_MEASURED)
    elif dry_run:
        _interpret_kernels()
        result = _about("cpu") | _unmeasured("a rehearsal on the CPU at tiny sizes")
        result |= {"rehearsal": _measure("cpu", checkpoint, weights, DRY)}
    elif not torch.cuda.is_available():
        raise SystemExit(
            f"torch {torch.__version__} finds no CUDA device, so there is nothing to measure; "
            "--dry-run runs every step on the CPU"
        )
    else:
        result = _about(device) | {"measured": True, "why_not": None}
        result |= _measure(device, checkpoint, weights, FULL)
    for target in result["targets"]:
        print(Verdict(**target).text())
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def _measure(device: str, checkpoint: str, weights: Path, sizes: Sizes) -> dict[str, Any]:
    started = time.perf_counter()
    where, ways = device_for(device), yardsticks()
    limits = ceilings(where, sizes.copied_megabytes, sizes.product_side, sizes.repeats)
    print(f"yardsticks: {', '.join(ways)}\n{limits}", flush=True)
    stages = scans.TINY if sizes.tiny else scans.PAPER
    rows = []
    for row in scans.compare_scans(
        stages, sizes.batch_sizes, ways, limits, where, min(30, sizes.repeats)
    ):
        print(_scan_text(row), flush=True)
        rows.append(row)
    store = CheckpointStore(weights)
    share = CudaShare(where, "tf32", fused=False) if sizes.tiny else CudaShare(where)
    subjects = [ends.paper(ends.TINY if sizes.tiny else ends.PAPER)]
    if not sizes.tiny:
        subjects.append(ends.checkpoint(lambda: store.load(checkpoint)))
    yardstick_names = list(ways)
    if sizes.tiny:  # interpreting a network takes minutes
        ways = dict([*ways.items()][-1:])
    results = []
    for subject in subjects:
        results.append(ends.compare_ends(subject, sizes.batch_sizes, ways, share, sizes.repeats))
        print(_end_text(results[-1]), flush=True)
    return {
        "yardsticks": yardstick_names,
        "ceilings": asdict(limits),
        "scans": rows,
        "scans_of_a_batch_ms": {str(b): scans.network_ms(rows, b) for b in sizes.batch_sizes},
        "ends": results,
        "targets": verdicts(rows, results),
        "seconds": time.perf_counter() - started,
    }


def _unmeasured(why: str) -> dict[str, Any]:
    return {
        "measured": False,
        "why_not": f"not measured: {why}",
        "yardsticks": [],
        "ceilings": None,
        "scans": [],
        "scans_of_a_batch_ms": {},
        "ends": [],
        "targets": verdicts([], []),
        "seconds": None,
    }


def _about(device: str | None) -> dict[str, Any]:
    packages = versions() | {"cuda": torch.version.cuda}
    for package in _OPTIONAL:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = None
    return {
        "device": device,
        "device_name": None if device is None else device_name(device),
        "versions": packages,
        "commit": _commit(),
    }


def _commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _interpret_kernels() -> None:
    """Restart with Triton's interpreter enabled: Triton reads the variable at import."""
    if find_spec("triton") is not None and not os.environ.get(_INTERPRET):
        os.environ[_INTERPRET] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]])


def _scan_text(row: dict[str, Any]) -> str:
    ways = ", ".join(f"{name} {way['p50_ms']:.3f}" for name, way in row["ways"].items())
    side, floors = row["stage"]["side"], row["floor_ms"]
    floor = max(ms for ms in floors.values() if ms is not None)
    return f"scan, batch {row['batch_size']}, {side}x{side}, ms: {ways}; floor {floor:.3f}"


def _end_text(end: dict[str, Any]) -> str:
    lines = [f"{end['subject']}: {end['plan']}, prepared in {end['preparation_s']:.0f} s"]
    for name, times in {"ours": end["ours"], **end["published"]}.items():
        lines += [
            f"  {name}: batch {t['batch_size']}: p50 {t['p50_ms']:.2f} ms, p99 {t['p99_ms']:.2f} "
            f"ms, {t['images_per_second']:.0f} images/s"
            for t in times
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
