"""Checks that the service stays stable: mixed traffic for a while, memory and files watched.

    python -m benchmarks.soak --minutes 10

Clients send good and bad images and hang up, while a version is loaded and unloaded repeatedly and
a worker is killed with SIGKILL once. Passes if no answer was wrong, only requests of the killed
worker failed, and memory, open files and threads did not grow after the warm-up. Needs
`pip install 'mambaad-service[bench]'`.
"""

import json
import random
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import copy_store, serving
from benchmarks.loading.subject import about, read_bodies, served_categories

CLIENTS = 4
SAMPLE_S = 1.0
KILL_AT, WARM_AT = 0.15, 0.4
"""Shares of the time: when a worker is killed, and from when on nothing may grow."""

WINDOW = 0.2
"""The first and the last samples after the warm-up are compared; this is the share of each."""

TOLERANCES = {
    "front_mb": (0.05, 16.0),
    "worker_mb": (0.1, 48.0),
    "front_files": (0.0, 12.0),
    "worker_files": (0.0, 4.0),
    "front_threads": (0.0, 4.0),
    "worker_threads": (0.0, 2.0),
}
"""Allowed growth of the median: a share of it or a number, whichever is more.

A worker's memory varies more: while it loads, it holds the version's weights twice.
"""


@dataclass
class Tally:
    """Counts of requests by outcome; `wrong` lists unexpected ones."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    killed_at: float = float("inf")

    def expect(self, kind: str, response: httpx.Response, allowed: set[int]) -> None:
        """Count an answer; 503 is expected for half a minute after the worker was killed."""
        self.outcomes[f"{kind} {response.status_code}"] += 1
        restarting = 0 <= time.monotonic() - self.killed_at < 30
        if response.status_code == 503 and restarting and "retry-after" in response.headers:
            return
        if response.status_code not in allowed:
            self.wrong.append(f"{kind}: {response.status_code} {response.text[:200]}")
        elif response.status_code >= 400 and response.headers.get("x-decision") == "OK":
            self.wrong.append(f"{kind}: OK with {response.status_code}")


class Traffic:
    """Threads that post, hang up, load and unload while the traffic flows."""

    def __init__(self, url: str, bodies: dict[str, list[bytes]], spare: str, tally: Tally) -> None:
        self._url, self._bodies, self._spare, self._tally = url, bodies, spare, tally
        self._done = threading.Event()
        self._expected: dict[tuple[str, int], tuple[str, float]] = {}
        self._threads = [
            threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)
        ]
        self._threads.append(threading.Thread(target=self._change))

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Run the threads until the block ends."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in self._threads:
                thread.join()

    def _client(self, number: int) -> None:
        dice = random.Random(number)
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._done.is_set():
                action = dice.choices((self._good, self._bad, self._gone), (70, 20, 10))[0]
                try:
                    action(client, dice)
                except httpx.HTTPError as error:
                    self._tally.wrong.append(repr(error))

    def _good(self, client: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        which = dice.randrange(len(self._bodies[category]))
        params = {"category": category, "heatmap": dice.choice(("none", "none", "map", "overlay"))}
        response = client.post("/detect", params=params, content=self._bodies[category][which])
        self._tally.expect("good", response, {200})
        if response.status_code != 200:
            return
        (result,) = response.json()["results"]
        decision, score = self._expected.setdefault(
            (category, which), (result["decision"], result["raw_score"])
        )
        if result["decision"] != decision or abs(result["raw_score"] - score) > 1e-3 * score:
            self._tally.wrong.append(f"{category} {which}: {result}")

    def _bad(self, client: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        image = self._bodies[category][0]
        content = dice.choice((b"", b"text", image[: len(image) // 2], bytes(10**6)))
        name = dice.choice((category, category, "../x"))
        response = client.post("/detect", params={"category": name}, content=content)
        self._tally.expect("bad", response, {404, 415, 422})

    def _gone(self, _: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        image = self._bodies[category][0]
        host, _, port = self._url.rpartition("//")[2].partition(":")
        head = f"POST /detect?category={category} HTTP/1.1\r\nHost: {host}\r\n"
        head += f"Content-Length: {len(image)}\r\n\r\n"
        sent = head.encode() + image
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent[: dice.choice((len(head), len(sent) // 2, len(sent)))])
            time.sleep(dice.uniform(0, 0.1))
        self._tally.outcomes["gone"] += 1

    def _change(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            while not self._done.wait(2):
                for change in ("load", "unload"):
                    response = client.post(f"/models/{self._spare}/{change}")
                    self._tally.expect(change, response, {200, 409})


@contextmanager
def store(weights: Path) -> Iterator[tuple[Path, str]]:
    """Copy a store and add a second version, which serves; yields it and the first version."""
    with tempfile.TemporaryDirectory(prefix="mambaad-soak-") as folder:
        root = Path(folder) / "weights"
        copy_store(weights, root, 1, 2)
        (manifest,) = root.glob("*/*/manifest.json")
        first = manifest.parent
        second = first.parent / str(int(first.name) + 1)
        shutil.copytree(first, second)
        values = json.loads((second / manifest.name).read_text("utf-8"))
        text = json.dumps(values | {"version": second.name})
        (second / manifest.name).unlink()  # it may be a link to the first version's
        (second / manifest.name).write_text(text, "utf-8")
        yield root, f"{first.parent.name}/{first.name}"


def workers_of(front: psutil.Process) -> list[psutil.Process]:
    """Return the workers' processes."""
    workers = []
    for child in front.children():
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                workers.append(child)
    return workers


def sample(front: psutil.Process) -> dict[str, float] | None:
    """Measure the service; None while a worker is starting or ending."""
    try:
        workers = workers_of(front)
        if not workers:
            return None
        return {
            "front_mb": front.memory_info().rss / 2**20,
            "worker_mb": sum(worker.memory_info().rss for worker in workers) / 2**20,
            "front_files": float(front.num_fds()),
            "worker_files": float(sum(worker.num_fds() for worker in workers)),
            "front_threads": float(front.num_threads()),
            "worker_threads": float(sum(worker.num_threads() for worker in workers)),
        }
    except psutil.Error:
        return None


def watch(
    front: psutil.Process, seconds: float, kill: Callable[[], None]
) -> list[dict[str, float]]:
    """Take samples for `seconds`, and call `kill` once."""
    samples, started, killed = [], time.monotonic(), False
    while (elapsed := time.monotonic() - started) < seconds:
        if not killed and elapsed >= KILL_AT * seconds:
            kill()
            killed = True
        measured = sample(front)
        if measured and elapsed >= WARM_AT * seconds:
            samples.append({"second": round(elapsed, 1), **measured})
        time.sleep(SAMPLE_S)
    return samples


def flatness(samples: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Compare the last samples with the first ones, for each quantity."""
    count = max(3, round(WINDOW * len(samples)))
    if len(samples) < 2 * count:
        raise CannotMeasure(
            f"only {len(samples)} samples after the warm-up, at least {2 * count} are needed; "
            "increase --minutes"
        )
    rows = []
    for name, (share, number) in TOLERANCES.items():
        before = median(s[name] for s in samples[:count])
        after = median(s[name] for s in samples[-count:])
        allowed = max(share * before, number)
        rows.append(
            {
                "what": name,
                "before": before,
                "after": after,
                "highest": max(s[name] for s in samples),
                "allowed_growth": allowed,
                "flat": after - before <= allowed,
            }
        )
    return rows


def report(rows: list[dict[str, Any]], tally: Tally) -> bool:
    """Print the table; return whether the service stayed stable."""
    print(f"{'':16}{'after warm-up':>14}{'at the end':>12}{'highest':>10}{'may grow':>10}")
    for row in rows:
        print(
            f"{row['what']:16}{row['before']:14.1f}{row['after']:12.1f}{row['highest']:10.1f}"
            f"{row['allowed_growth']:10.1f}  {'flat' if row['flat'] else 'GROWS'}"
        )
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(tally.outcomes.items())))
    for wrong in tally.wrong[:10]:
        print(f"WRONG: {wrong}")
    holds = all(row["flat"] for row in rows) and not tally.wrong
    print("HOLDS" if holds else "DOES NOT HOLD")
    return holds


def main(
    minutes: Annotated[float, typer.Option(min=0.2, help="Minutes after the start.")] = 10.0,
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
        (front,) = (p for p in psutil.Process().children() if "serve" in p.cmdline())
        bodies = read_bodies(images, served_categories(url, {}))

        def kill() -> None:
            tally.killed_at = time.monotonic()
            workers_of(front)[0].send_signal(signal.SIGKILL)

        with Traffic(url, bodies, spare, tally).flowing():
            samples = watch(front, 60 * minutes, kill)
        described = about(url) | {
            "command": shlex.join(["python", "-m", "benchmarks.soak", *sys.argv[1:]])
        }
        log = (root.parent / "service.log").read_text("utf-8")
    if "Traceback" in log:
        tally.wrong.append(f"a traceback in the log: {log[-2000:]}")
    rows = flatness(samples)
    holds = report(rows, tally)
    if json_file is not None:
        result = described | {"minutes": minutes, "holds": holds, "flatness": rows}
        result |= {"outcomes": dict(tally.outcomes), "wrong": tally.wrong, "samples": samples}
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    raise typer.Exit(0 if holds else 1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except CannotMeasure as error:
        sys.exit(f"soak: {error}")
