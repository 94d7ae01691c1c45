"""Measures how long a dead worker is missed, with and without a spare.

    python -m benchmarks.recovery --rounds 5 --json benchmarks/results/recovery-cpu.json

A worker is killed (SIGKILL), crashes (SIGSEGV) or hangs (SIGSTOP), while the service is idle and
while four clients post images in a closed loop. Each round waits until the service, and its spare,
are ready again. A hang is noticed by the watchdog, after `--heartbeat` seconds of silence, which
are part of the measured time.

The next answer is the first one with a decision to a part that was posted after the fault. Every
post is counted as answered or UNDECIDED; the decision and the raw score of each image must be those
before all faults.
"""

import json
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import serving
from benchmarks.loading.subject import about, inspected, read_bodies, served_categories
from benchmarks.soaking.watching import workers_of

FAULTS = {"kill -9": signal.SIGKILL, "segfault": signal.SIGSEGV, "hang": signal.SIGSTOP}
CLIENTS = 4
IDLE_POST_EVERY_S = 0.02
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """One fault: seconds until the next answer, and the parts that got no decision."""

    fault: str
    has_spare: bool
    is_busy: bool
    seconds: float
    undecided: int


class Line:
    """Clients of one service; `kept` has the answers to compare with."""

    def __init__(self, url: str, images: Path) -> None:
        self.url = url
        self.category = served_categories(url, {})[0]
        self.body = read_bodies(images, [self.category])[self.category][0]
        self.front = next(p for p in psutil.Process().children() if "serve" in p.cmdline())
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        self.expected = self.post()
        if self.expected is None:
            raise CannotMeasure("the first image was not inspected")

    def post(self) -> tuple[str, float] | None:
        """Inspect the image; return its decision and raw score, None if UNDECIDED."""
        return inspected(self._client, self.category, self.body)

    def await_rest(self, *, has_spare: bool) -> None:
        """Wait until worker and spare are ready, and a part is answered."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = self._client.get("/readyz").json()
            if answer["ready"] and (not has_spare or answer["spare"]["state"] == "ready"):
                if self.post() != self.expected:
                    raise CannotMeasure("an answer differs from the one before the faults")
                return
            time.sleep(0.1)
        raise CannotMeasure(f"worker and spare were not ready within {PATIENCE_S:g} s")


def recover(line: Line, fault: str, *, has_spare: bool, is_busy: bool) -> Recovery:
    """Cause one fault; return the seconds until the next answer."""
    line.await_rest(has_spare=has_spare)
    worker = min(workers_of(line.front), key=psutil.Process.create_time)
    answered, struck = threading.Event(), threading.Event()
    undecided: list[int] = []
    answers: list[float] = []

    def client() -> None:
        while not answered.is_set():
            is_after = struck.is_set()
            result = line.post()
            if result is None:
                undecided.append(1)
            elif result != line.expected:
                raise CannotMeasure(f"{result} instead of {line.expected}")
            elif is_after:
                answers.append(time.monotonic())
                answered.set()
            if not is_busy or result is None:
                time.sleep(IDLE_POST_EVERY_S)

    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(client) for _ in range(CLIENTS)] if is_busy else []
        if is_busy:
            time.sleep(1.0)
        began = time.monotonic()
        worker.send_signal(FAULTS[fault])
        struck.set()
        if not is_busy:
            clients = [threads.submit(client)]
        for each in clients:
            each.result()
    return Recovery(fault, has_spare, is_busy, min(answers) - began, len(undecided))


def summary(recoveries: Sequence[Recovery]) -> list[dict[str, Any]]:
    """Return a row for each fault, with and without a spare, idle and busy."""
    rows = []
    for fault in FAULTS:
        for is_busy in (False, True):
            for has_spare in (True, False):
                kind = (fault, has_spare, is_busy)
                mine = [r for r in recoveries if (r.fault, r.has_spare, r.is_busy) == kind]
                if mine:
                    seconds = [r.seconds for r in mine]
                    rows.append(
                        {"fault": fault, "has_spare": has_spare, "is_busy": is_busy}
                        | {"rounds": len(mine), "median_s": median(seconds)}
                        | {"worst_s": max(seconds), "undecided": sum(r.undecided for r in mine)}
                    )
    return rows


@contextmanager
def line_of(
    weights: Path, images: Path, heartbeat_s: float, *, has_spare: bool
) -> Iterator[tuple[Line, str]]:
    """Serve the store with or without a spare."""
    variables = {
        "MAMBAAD_WORKERS__SPARE": "on" if has_spare else "off",
        "MAMBAAD_WORKERS__HEARTBEAT_TIMEOUT_MS": str(1000 * heartbeat_s),
    }
    with tempfile.TemporaryDirectory(prefix="mambaad-recovery-") as folder:
        store = Path(folder) / "weights"
        shutil.copytree(weights, store)
        with serving(store, ["--log-level", "warning"], variables) as url:
            yield Line(url, images), url


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Faults of each kind.")] = 5,
    heartbeat: Annotated[float, typer.Option(help="Seconds until a hang is noticed.")] = 10.0,
    weights: Annotated[Path, typer.Option(help="The store to serve.")] = Path("weights"),
    images: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Cause every fault several times, and print the time until the next answer."""
    recoveries: list[Recovery] = []
    described: dict[str, Any] = {}
    for has_spare in (True, False):
        with line_of(weights, images, heartbeat, has_spare=has_spare) as (line, url):
            described = described or about(url)
            for fault in FAULTS:
                for is_busy in (False, True):
                    for _ in range(rounds):
                        one = recover(line, fault, has_spare=has_spare, is_busy=is_busy)
                        recoveries.append(one)
                        print(one, flush=True)
    rows = summary(recoveries)
    print(f"{'fault':10}{'':8}{'':16}{'median':>9}{'worst':>9}{'UNDECIDED':>11}")
    for row in rows:
        load = "busy" if row["is_busy"] else "idle"
        spare = "with a spare" if row["has_spare"] else "without one"
        print(
            f"{row['fault']:10}{load:8}{spare:16}{row['median_s']:8.2f}s{row['worst_s']:8.2f}s"
            f"{row['undecided']:11}"
        )
    if json_file is not None:
        result = described | {
            "command": shlex.join(["python", "-m", "benchmarks.recovery", *sys.argv[1:]]),
            "heartbeat_s": heartbeat,
            "summary": rows,
            "recoveries": [asdict(one) for one in recoveries],
        }
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        typer.run(main)
    except CannotMeasure as error:
        sys.exit(f"recovery: {error}")
