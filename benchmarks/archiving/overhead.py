"""The archive's cost to `POST /detect`: services with and without it, side by side.

    python -m benchmarks.archiving.overhead --json benchmarks/results/archive-overhead-cpu.json

Three services run at the same time: without an archive, with its defaults, and with every image
kept. Requests go to them in turn, so that a slow minute of the machine slows all three:

- one at a time, a request to each in turn: the median of the differences is the added latency;
- many in flight, some seconds to each in turn: the median of the ratios is the throughput.

By default only good parts are posted, since most parts of a line are good; `--pattern '*'` posts
defective ones too, whose images and maps are all kept.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from benchmarks.loading.claims import Effort, Verdict, closed
from benchmarks.loading.sender import Target
from benchmarks.loading.serving import serving
from benchmarks.loading.subject import about, target_of

WITHOUT = "without"
MODES: Mapping[str, Mapping[str, str] | None] = {
    WITHOUT: None,
    "defaults": {},
    "every image kept": {"MAMBAAD_ARCHIVE__KEEP_IMAGES": "OK=1"},
}
"""Variables of each service; None: no archive."""

MOST_ADDED_MS = 8.0
LEAST_THROUGHPUT = 0.95


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of lone requests; `added_ms` is the median of the paired differences."""

    p50_ms: float
    p95_ms: float
    added_ms: float


def main(
    weights: Annotated[Path, typer.Option(help="The store to serve from.")] = Path("weights"),
    images: Annotated[Path, typer.Option(help="Images as <category>/<image>.")] = Path("samples"),
    pattern: Annotated[str, typer.Option(help="Names of the images to post.")] = "good*",
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each service, in turn.")] = 8,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run.")] = 8.0,
    lone: Annotated[int, typer.Option(min=20, help="Lone requests to each service.")] = 300,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Measure the added latency and the throughput, and judge both."""
    with ExitStack() as stack:
        posted = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mambaad-images-")))
        for image in images.glob(f"*/{pattern}"):
            (posted / image.parent.name).mkdir(exist_ok=True)
            (posted / image.parent.name / image.name).symlink_to(image.resolve())
        targets = {mode: stack.enter_context(_service(mode, weights, posted)) for mode in MODES}
        category = next(iter(targets[WITHOUT].bodies))
        result: dict[str, Any] = about(targets[WITHOUT].url)
        result["command"] = " ".join(["python -m benchmarks.archiving.overhead", *sys.argv[1:]])
        result["cores"] = os.cpu_count()
        latencies = _lone(targets, category, lone)
        rates = _throughputs(targets, category, Effort(seconds, 1.0, 1), rounds)
    verdicts = judged(latencies, rates)
    for mode, figures in latencies.items():
        rate = f"{median(rates[mode]):6.2f} images/s"
        print(f"{mode:<18} p50 {figures.p50_ms:6.1f} ms, p95 {figures.p95_ms:6.1f} ms, {rate}")
    for verdict in verdicts:
        print(verdict.text())
    result["pattern"] = pattern
    result["latencies"] = {mode: asdict(figures) for mode, figures in latencies.items()}
    result |= {"images_per_s": rates, "verdicts": [asdict(verdict) for verdict in verdicts]}
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def judged(
    latencies: Mapping[str, Latencies], rates: Mapping[str, Sequence[float]]
) -> list[Verdict]:
    """Judge each service with an archive against the one without."""
    verdicts = []
    for mode in MODES.keys() - {WITHOUT}:
        added = latencies[mode].added_ms
        ratio = median(a / b for a, b in zip(rates[mode], rates[WITHOUT], strict=True))
        verdicts += [
            Verdict(
                f"archive ({mode}): a lone image is at most {MOST_ADDED_MS:g} ms slower",
                added <= MOST_ADDED_MS, added, MOST_ADDED_MS,
                f"{added:.2f} ms, the median of paired differences",
            ),
            Verdict(
                f"archive ({mode}): at least {LEAST_THROUGHPUT:.0%} of the throughput without",
                ratio >= LEAST_THROUGHPUT, ratio, LEAST_THROUGHPUT,
                f"{ratio:.1%}, the median of {len(rates[mode])} paired runs",
            ),
        ]  # fmt: skip
    return sorted(verdicts, key=lambda verdict: verdict.claim)


@contextmanager
def _service(mode: str, weights: Path, images: Path) -> Iterator[Target]:
    """Start one of the services; its archive is in a temporary folder."""
    variables = MODES[mode]
    with tempfile.TemporaryDirectory(prefix="mambaad-archive-") as folder:
        store = Path(folder) / "weights"
        store.symlink_to(weights.resolve(), target_is_directory=True)
        options = [] if variables is None else ["--state", str(Path(folder) / "state")]
        with serving(store, options, variables or {}) as url:
            target, _ = target_of(url, images, None, "none", 60.0)
            yield target


def _lone(targets: Mapping[str, Target], category: str, count: int) -> dict[str, Latencies]:
    """Send one request at a time, to each service in turn."""
    taken: dict[str, list[float]] = {mode: [] for mode in targets}
    with ExitStack() as stack:
        connections = {}
        for mode, target in targets.items():
            connection = http.client.HTTPConnection(urlsplit(target.url).netloc, timeout=60)
            stack.callback(connection.close)
            connections[mode] = connection
        for number in range(count + 10):
            for mode, target in targets.items():
                bodies = target.bodies[category]
                body = bodies[number % len(bodies)]
                took_ms = _post(connections[mode], category, body)
                if number >= 10:
                    taken[mode].append(took_ms)
    return {
        mode: Latencies(
            median(times),
            quantiles(times, n=20)[-1],
            median(a - b for a, b in zip(times, taken[WITHOUT], strict=True)),
        )
        for mode, times in taken.items()
    }


def _post(connection: http.client.HTTPConnection, category: str, body: bytes) -> float:
    """Post an image; return the milliseconds until its answer."""
    began = time.perf_counter()
    connection.request("POST", f"/detect?category={category}", body)
    answer = connection.getresponse()
    content = answer.read()
    took_ms = (time.perf_counter() - began) * 1000
    assert answer.status == 200, content
    return took_ms


def _throughputs(
    targets: Mapping[str, Target], category: str, effort: Effort, rounds: int
) -> dict[str, list[float]]:
    """Measure the throughput of each service in turn, many times."""
    rates: dict[str, list[float]] = {mode: [] for mode in targets}
    for number in range(rounds):
        modes = list(targets)
        for mode in modes if number % 2 else reversed(modes):
            run = closed(targets[mode], [category], 16, effort, f"{mode}, round {number + 1}")
            rates[mode].append(run.achieved)
    return rates


if __name__ == "__main__":
    typer.run(main)
