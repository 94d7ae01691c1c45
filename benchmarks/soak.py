"""Checks that the service stays stable under hostile and good traffic, watched from outside.

    python -m benchmarks.soak --minutes 10

Clients post good and bad images or hang up, while a version is loaded and unloaded repeatedly and
one worker is killed. Among them, one at a time, are requests that try to cost too much
(`tests/hostile_requests.py`). Passes if no answer was wrong, only the killed worker's requests
failed, /livez was never silent for longer than SILENCE_S, and memory, open files and threads are as
flat at the end as after the warm-up. Needs `pip install 'mambaad-service[dev]'`.
"""

import json
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import copy_store, serving
from benchmarks.loading.subject import about, read_bodies, served_categories
from benchmarks.soaking.probing import BASELINE, Prober, Silences
from benchmarks.soaking.tally import RESTART_S, Tally
from benchmarks.soaking.traffic import Traffic
from benchmarks.soaking.watching import flatness, watch, workers_of
from tests.hostile_requests import every_request

SILENCE_S = 0.25
"""Longest allowed silence of /livez, beyond the machine's own."""

DRAWN = 30
"""Hostile requests of each kind, besides those that once cost too much."""


@contextmanager
def store(weights: Path) -> Iterator[tuple[Path, str]]:
    """Copy a store and add a second version, which serves; yield the copy and the first version."""
    with tempfile.TemporaryDirectory(prefix="mambaad-soak-") as folder:
        root = Path(folder) / "weights"
        copy_store(weights, root, 1, 2)
        (manifest,) = root.glob("*/*/manifest.json")
        first = manifest.parent
        second = first.parent / str(int(first.name) + 1)
        shutil.copytree(first, second)
        values = json.loads((second / manifest.name).read_text("utf-8"))
        text = json.dumps(values | {"version": second.name})
        (second / manifest.name).unlink()  # may be a link to the first version's file
        (second / manifest.name).write_text(text, "utf-8")
        yield root, f"{first.parent.name}/{first.name}"


def report(
    rows: list[dict[str, Any]], tally: Tally, silences: Mapping[str, Silences] | None = None
) -> bool:
    """Print the tables; return whether all checks passed."""
    print(f"{'':16}{'after warm-up':>14}{'at the end':>12}{'highest':>10}{'may grow':>10}")
    for row in rows:
        print(
            f"{row['what']:16}{row['before']:14.1f}{row['after']:12.1f}{row['highest']:10.1f}"
            f"{row['allowed_growth']:10.1f}  {'flat' if row['flat'] else 'GROWS'}"
        )
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(tally.outcomes.items())))
    is_quick = _report_silences(silences or {}, tally)
    for wrong in tally.wrong[:10]:
        print(f"WRONG: {wrong}")
    holds = all(row["flat"] for row in rows) and is_quick and not tally.wrong
    print("HOLDS" if holds else "DOES NOT HOLD")
    return holds


def _report_silences(silences: Mapping[str, Silences], tally: Tally) -> bool:
    """Print how long each target was silent; return whether no silence was too long."""
    if not silences:
        return True
    print(f"{'silent for, ms':16}{'99 in 100':>14}{'longest':>12}{'not the machine':>18}")
    is_quick = True
    for name, seen in silences.items():
        too_long = name != BASELINE and not seen.excess_s < SILENCE_S
        is_quick &= not too_long
        print(
            f"{name:16}{1000 * seen.p99_s:14.0f}{1000 * seen.longest_s:12.0f}"
            f"{1000 * seen.excess_s:18.0f}{'  TOO LONG' if too_long else ''}"
        )
        if too_long:
            during = tally.during(seen.at, seen.longest_s) or ["nothing hostile"]
            print(f"{'':16}during: {'; '.join(during)}")
    return is_quick


def soak(url: str, images: Path, spare: str, tally: Tally, minutes: float) -> dict[str, Any]:
    """Soak a service that this process started; return the measurements."""
    (front,) = (p for p in psutil.Process().children() if "serve" in p.cmdline())
    bodies = read_bodies(images, served_categories(url, {}))
    hostile = every_request(next(iter(bodies)), DRAWN)

    def kill() -> None:
        tally.killed_at = time.monotonic()
        workers_of(front)[0].send_signal(signal.SIGKILL)
        threading.Thread(target=_await_worker, args=(url, tally), daemon=True).start()

    traffic = Traffic(url, bodies, spare, tally, hostile)
    with Prober({"/livez": f"{url}/livez"}) as prober, traffic.flowing():
        samples = watch(front, 60 * minutes, kill)
        silences = prober.take()
    return {"samples": samples, "silences": silences, "hostile_requests": len(hostile)}


def _await_worker(url: str, tally: Tally) -> None:
    """Note when the service is ready again, after it was not."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for status in (503, 200):
            while client.get("/readyz").status_code != status:
                if time.monotonic() - tally.killed_at > RESTART_S:
                    tally.wrong.append(f"no worker was ready {RESTART_S:g} s after one was killed")
                    return
                time.sleep(0.05)
    tally.restored_at = time.monotonic()


def main(
    minutes: Annotated[float, typer.Option(min=0.2, help="Length of the soak in minutes.")] = 10.0,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda:N".')] = "cpu",
    weights: Annotated[Path, typer.Option(help="The store to serve a copy of.")] = Path("weights"),
    images: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Run the traffic, and report whether the service stayed stable."""
    options = ["--device", device, "--max-batch-size", "8", "--log-level", "warning"]
    tally = Tally()
    with store(weights) as (root, spare), serving(root, options) as url:
        measured = soak(url, images, spare, tally, minutes)
        described = about(url) | {
            "command": shlex.join(["python", "-m", "benchmarks.soak", *sys.argv[1:]])
        }
        log = (root.parent / "service.log").read_text("utf-8")
    if "Traceback" in log:
        tally.wrong.append(f"a traceback in the log: {log[-2000:]}")
    rows = flatness(measured["samples"])
    holds = report(rows, tally, measured["silences"])
    if json_file is not None:
        result = described | {"minutes": minutes, "holds": holds, "flatness": rows}
        result |= {"outcomes": dict(tally.outcomes), "wrong": tally.wrong} | measured
        result["worker_back_after_s"] = round(tally.restored_at - tally.killed_at, 1)
        result["silences"] = {name: asdict(seen) for name, seen in result["silences"].items()}
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    raise typer.Exit(0 if holds else 1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except CannotMeasure as error:
        sys.exit(f"soak: {error}")
