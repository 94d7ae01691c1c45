"""An open-loop load generator: measures the service's speed and checks the claims about it.

    python -m benchmarks.load run --start --rate 70% --seconds 60
    python -m benchmarks.load run --url http://line-7:8000 --rate 20 --mix solar-mono=3,solar-poly=1

Each claim has a command that starts its own service:

    python -m benchmarks.load throughput    # POST /detect compared with the Detector alone
    python -m benchmarks.load latency       # p99 at 70 % load
    python -m benchmarks.load categories    # 16 categories on 4 checkpoints compared with one

Requests have times drawn beforehand, and latency counts from those times: a stalled service also
pays for the requests it delayed. Needs `pip install 'mambaad-service[bench]'`.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.loading import CannotMeasure, claims
from benchmarks.loading.arrivals import Arrivals
from benchmarks.loading.claims import Effort, Verdict
from benchmarks.loading.report import text_of
from benchmarks.loading.sender import Target
from benchmarks.loading.subject import about, parse_mix, target_of
from service.settings import ClientSettings, Settings, WorkerSettings, tune_torch

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Weights = Annotated[Path, typer.Option(help="The store that a started service gets a copy of.")]
Images = Annotated[Path, typer.Option(help="Images to post, as <category>/<image>.")]
Device = Annotated[str, typer.Option(help='"cpu" or "cuda:N".')]
BatchSize = Annotated[int, typer.Option(min=1, help="The service's largest batch.")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Length of a run, after its warm-up.")]
WarmUp = Annotated[float, typer.Option(min=0, help="Seconds at the start that do not count.")]
Rounds = Annotated[int, typer.Option(min=1, help="Number of runs; medians count.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the network; by default all cores.")
]
Senders = Annotated[int, typer.Option(min=1, help="Number of sender processes.")]
Serve = Annotated[str, typer.Option(help="More options for `mambaad serve`, as one string.")]
Checkpoints = Annotated[int, typer.Option(min=1, help="Checkpoints of a started service.")]
Categories = Annotated[int, typer.Option(min=1, help="Categories of a started service.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]


@app.command()
def run(
    *,
    url: Annotated[str | None, typer.Option(help="URL of a running service.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start a service to measure.")] = False,
    rate: Annotated[str, typer.Option(help='Requests a second, or "70%" of the capacity.')] = "70%",
    arrivals: Arrivals = Arrivals.POISSON,
    mix: Annotated[str | None, typer.Option(help="Weights, as a=3,b=1; by default equal.")] = None,
    heatmap: Annotated[str, typer.Option(help="Kind of heatmap to request.")] = "none",
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests in flight to find the capacity.")
    ] = 32,
    timeout_s: Annotated[float, typer.Option(min=0.1)] = 60.0,
    seed: int = 0,
    seconds: Seconds = 30.0,
    warm_up: WarmUp = 3.0,
    senders: Senders = 1,
    checkpoints: Checkpoints = 1,
    categories: Categories = 2,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    serve: Serve = "",
    json_file: JsonFile = None,
) -> None:
    """Send at a rate, and report latencies, errors, decisions and batches."""
    if start == (url is not None):
        raise typer.BadParameter("give either --url or --start")
    effort = Effort(seconds, warm_up, 1, senders)
    with _service(url, weights, checkpoints, categories, shlex.split(serve)) as address:
        target, served = _target(address, images, heatmap, timeout_s)
        weights_of_categories = parse_mix(mix, served)
        result: dict[str, Any] = about(address)
        offered = _rate(rate)
        if rate.endswith("%"):
            full = claims.closed(
                target, list(weights_of_categories), concurrency, effort, "capacity"
            )
            print(f"capacity: {text_of(full)}\n")
            result["capacity"] = asdict(full)
            offered *= full.achieved / 100
        summary = claims.opened(target, arrivals, offered, weights_of_categories, effort, seed)
    print(f"{arrivals}: {text_of(summary)}")
    _write(json_file, result | {"summary": asdict(summary)})


@app.command()
def throughput(
    *,
    device: Device = "cpu",
    batch_size: BatchSize = 8,
    seconds: Seconds = 12.0,
    warm_up: WarmUp = 3.0,
    rounds: Rounds = 5,
    senders: Senders = 1,
    threads: Threads = None,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    serve: Serve = "",
    json_file: JsonFile = None,
) -> None:
    """Compare the throughput of POST /detect with the Detector's at the same batch size.

    Each round restarts both. On a CPU, set `--threads` to one below the cores to leave a core to
    the sender, the decoding and the front.
    """
    from benchmarks.loading.alone import detector_rate  # noqa: PLC0415 - senders need no torch

    options = [*_options(device, batch_size, threads), *shlex.split(serve)]
    described: dict[str, Any] = {}
    serving = partial(_fresh_service, weights, images, 1, options, described)
    alone = partial(detector_rate, weights, device, batch_size, seconds, threads)
    lanes = Settings(workers={"threads_per_worker": threads}).workers.lanes_of(device)
    effort = Effort(seconds, warm_up, rounds, senders)
    verdict, runs = claims.throughput(serving, alone, batch_size, lanes, effort)
    _conclude(verdict, runs, described | {"threads": threads}, json_file)


@app.command()
def latency(
    *,
    device: Device = "cpu",
    batch_size: BatchSize = WorkerSettings.model_fields["max_batch_size"].default,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Load as a fraction of the capacity.")
    ] = 0.7,
    arrivals: Arrivals = Arrivals.POISSON,
    threads: Threads = None,
    seconds: Seconds = 40.0,
    warm_up: WarmUp = 3.0,
    rounds: Rounds = 5,
    senders: Senders = 1,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    serve: Serve = "",
    json_file: JsonFile = None,
) -> None:
    """Compare p99 at 70 % load with twice the unloaded single latency plus one batch's time.

    Each round starts a new service. On a CPU, set `--threads` to one below the cores to leave a
    core to the sender, the decoding and the front.
    """
    options = [*_options(device, batch_size, threads), *shlex.split(serve)]
    described: dict[str, Any] = {}
    serving = partial(_fresh_service, weights, images, 2, options, described)
    effort = Effort(seconds, warm_up, rounds, senders)
    lanes = Settings(workers={"threads_per_worker": threads}).workers.lanes_of(device)
    verdict, runs = claims.latency(serving, batch_size, share, effort, arrivals, lanes)
    _conclude(verdict, runs, described | {"threads": threads}, json_file)


@app.command()
def categories(
    *,
    device: Device = "cpu",
    batch_size: BatchSize = 8,
    checkpoints: Checkpoints = 4,
    categories: Categories = 16,
    seconds: Seconds = 20.0,
    warm_up: WarmUp = 3.0,
    rounds: Rounds = 3,
    senders: Senders = 1,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    serve: Serve = "",
    json_file: JsonFile = None,
) -> None:
    """Compare the throughput of many categories in turn with that of one."""
    options = [*_options(device, batch_size), *shlex.split(serve)]
    with _service(None, weights, checkpoints, categories, options) as address:
        target, served = _target(address, images)
        effort = Effort(seconds, warm_up, rounds, senders)
        concurrency = 2 * batch_size * checkpoints
        verdict, runs = claims.interleaved(target, served, concurrency, effort)
        _conclude(verdict, runs, about(address), json_file)


@contextmanager
def _service(
    url: str | None, weights: Path, checkpoints: int, categories: int, options: list[str]
) -> Iterator[str]:
    """Yield `url`, or the URL of a service started for the block."""
    if url is not None:
        yield url
        return
    from benchmarks.loading.serving import started  # noqa: PLC0415 - senders need no torch

    with started(weights, checkpoints, categories, options) as address:
        yield address


@contextmanager
def _fresh_service(
    weights: Path, images: Path, categories: int, options: list[str], described: dict[str, Any]
) -> Iterator[tuple[Target, list[str]]]:
    """Start a service of one checkpoint for the block, and add its description to `described`."""
    with _service(None, weights, 1, categories, options) as address:
        described.update(about(address))
        yield _target(address, images)


def _options(device: str, batch_size: int, threads: int | None = None) -> list[str]:
    options = ["--device", device, "--max-batch-size", str(batch_size), "--log-level", "warning"]
    return options if threads is None else [*options, "--threads", str(threads)]


def _target(
    url: str, images: Path, heatmap: str = "none", timeout_s: float = 60.0
) -> tuple[Target, list[str]]:
    key = ClientSettings().api_key
    secret = key.get_secret_value() if key else None
    return target_of(url, images, secret, heatmap, timeout_s)


def _conclude(
    verdict: Verdict, runs: dict[str, Any], described: dict[str, Any], json_file: Path | None
) -> None:
    print(verdict.text())
    for doubt in sorted(_doubts(runs)):
        print(f"  NOT TO BE TRUSTED: {doubt}")
    _write(json_file, described | {"verdict": asdict(verdict), "runs": runs})
    raise typer.Exit(0 if verdict.holds else 1)


def _rate(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError as error:
        raise CannotMeasure(f'--rate must be like 20 or "70%", got {text!r}') from error


def _doubts(runs: object) -> set[str]:
    if isinstance(runs, dict):
        doubts = {runs["doubt"]} if runs.get("doubt") else set()
        return doubts.union(*map(_doubts, runs.values()))
    return set().union(*map(_doubts, runs)) if isinstance(runs, list) else set()


def _write(json_file: Path | None, result: dict[str, Any]) -> None:
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    tune_torch()  # like the measured service
    try:
        app()
    except CannotMeasure as error:
        sys.exit(f"load: {error}")
