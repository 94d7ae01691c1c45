"""Times a service's first answer, from its start to the first 200, and weighs its processes.

    python -m benchmarks.start --json benchmarks/results/start-cpu.json

Starts `mambaad serve` several times like `make run`, waits until it listens and is ready, and posts
one image. The first start may compile kernels and fills the file cache: it is reported separately
from the medians. The processor's seconds, of front process and worker together, hardly depend on
other load on the machine, so they stand beside the seconds on the clock.

Then serves the shipped checkpoint alone, with twice as many categories, and two checkpoints that
share its encoder, each in a new service without a spare, and reports the memory of the worker and
of the front process after one image.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import typer

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import MAMBAAD, ROOT, copy_store, serving
from benchmarks.loading.subject import about, read_bodies, served_categories
from benchmarks.soaking.watching import workers_of

STAGES = ("listening_s", "ready_s", "answered_s", "processor_s")
POLL_S = 0.02
PATIENCE_S = 300.0
STORES = {
    "shipped": (1, 2),
    "two categories more": (1, 4),
    "a second checkpoint with two categories": (2, 4),
}
"""Numbers of checkpoints and categories whose memory is reported."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the process to each stage, and the processor's until the last."""

    listening_s: float
    ready_s: float
    answered_s: float
    processor_s: float

    @property
    def image_s(self) -> float:
        """Return the seconds of the first image alone."""
        return self.answered_s - self.ready_s


def summary(starts: Sequence[Start]) -> dict[str, dict[str, float]]:
    """Return the median and the extremes of every stage, in seconds."""
    columns = {stage: [getattr(start, stage) for start in starts] for stage in (*STAGES, "image_s")}
    return {
        stage: {"median": median(values), "least": min(values), "most": max(values)}
        for stage, values in columns.items()
    }


def form(category: str, image: bytes) -> tuple[bytes, Mapping[str, str]]:
    """Return the body and the headers of a POST /detect."""
    boundary = "part-of-a-start"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="category"\r\n\r\n{category}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="part.png"\r\n\r\n'
    )
    body = head.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def await_answer(server: "subprocess.Popen[bytes]", request: urllib.request.Request) -> float:
    """Repeat a request until the answer is 200; return the time on the monotonic clock."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):
                return time.monotonic()
        except (urllib.error.URLError, ConnectionError):  # not yet listening or ready
            time.sleep(POLL_S)
    raise CannotMeasure("the service ended or never answered 200; see its log")


def measured(samples: Path, options: Sequence[str]) -> tuple[Start, dict[str, Any]]:
    """Start and stop the service once; return the seconds, and a description."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [*MAMBAAD, "serve", "--samples", str(samples)]
    port = url.rpartition(":")[2]
    with ExitStack() as stack:
        began = time.monotonic()
        server = stack.enter_context(
            subprocess.Popen(
                [*command, "--port", port, *options], cwd=ROOT, stdout=subprocess.DEVNULL
            )
        )
        stack.callback(server.send_signal, signal.SIGTERM)
        listening = await_answer(server, urllib.request.Request(f"{url}/livez"))
        ready = await_answer(server, urllib.request.Request(f"{url}/readyz"))
        category = served_categories(url, {})[0]
        body, headers = form(category, read_bodies(samples, [category])[category][0])
        post = urllib.request.Request(f"{url}/detect", data=body, headers=dict(headers))
        answered = await_answer(server, post)
        processor_s = sum(used_s(process) for process in processes(server.pid))
        described = about(url)
    return Start(listening - began, ready - began, answered - began, processor_s), described


def processes(front: int) -> list[psutil.Process]:
    """Return the front process and its workers."""
    process = psutil.Process(front)
    return [process, *workers_of(process)]


def used_s(process: psutil.Process) -> float:
    """Return the processor's seconds of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def memory_mb(checkpoints: int, categories: int, samples: Path) -> dict[str, dict[str, float]]:
    """Return the memory of worker and front process after one image, in MB.

    `rss` counts shared pages in full, `pss` by the number of processes that share them.
    """
    with TemporaryDirectory(prefix="mambaad-start-") as folder:
        store = Path(folder) / "weights"
        copy_store(ROOT / "weights", store, checkpoints, categories)
        with serving(store, ["--log-level", "warning"], {"MAMBAAD_WORKERS__SPARE": "off"}) as url:
            category = served_categories(url, {})[0]
            images = read_bodies(samples, [category.rpartition("-")[0]])
            body, headers = form(category, next(iter(images.values()))[0])
            post = urllib.request.Request(f"{url}/detect", data=body, headers=dict(headers))
            with urllib.request.urlopen(post, timeout=PATIENCE_S):
                pass
            front = next(p for p in psutil.Process().children() if "serve" in p.cmdline())
            named = zip(("front", "worker"), processes(front.pid), strict=True)
            sizes = {name: process.memory_full_info() for name, process in named}
    return {
        name: {"rss": info.rss / 2**20, "pss": info.pss / 2**20} for name, info in sizes.items()
    }


def main(
    starts: Annotated[int, typer.Option(min=1, help="Starts after the first one.")] = 3,
    samples: Annotated[Path, typer.Option(help="Images as <category>/<image>.")] = ROOT / "samples",
    serve: Annotated[str, typer.Option(help="Options for `mambaad serve`, as one string.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Start the service several times, and print the time of the first answer."""
    first, described = measured(samples, shlex.split(serve))
    again = [measured(samples, shlex.split(serve))[0] for _ in range(starts)]
    load = os.getloadavg()
    memory = {name: memory_mb(*counts, samples) for name, counts in STORES.items()}
    result = described | {
        "command": shlex.join(["python", "-m", "benchmarks.start", *sys.argv[1:]]),
        "cores": os.cpu_count(),
        "load_average": load,
        "first": asdict(first),
        "starts": [asdict(start) for start in again],
        "seconds": summary(again),
        "memory_mb": memory,
    }
    print(f"the first start answered after {first.answered_s:.1f} s; of {starts} after it:")
    for stage, row in result["seconds"].items():
        print(f"  {stage:<12} {row['median']:6.2f}  ({row['least']:.2f} to {row['most']:.2f})")
    for name, sizes in memory.items():
        text = ", ".join(
            f"{process} {size['rss']:.0f} MB (pss {size['pss']:.0f})"
            for process, size in sizes.items()
        )
        print(f"  {name:<42} {text}")
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
