"""Measures what computing on a Ray cluster costs, and how long a lost node is missed.

    python -m benchmarks.cluster hop --json benchmarks/results/cluster-hop.json
    python -m benchmarks.cluster recovery --json benchmarks/results/cluster-recovery.json
    python -m benchmarks.cluster zipf --json benchmarks/results/cluster-zipf.json

`hop`: a local service and one on a cluster of one node, each with a worker of one thread. Each
image is sent to both, in changing order, and the median of the pairs' differences counts; then
clients in a closed loop post to one and the other in turns. Processor time, which other programs
hardly change, is that of the service and of Ray, less what they take at rest. `recovery`: of three
nodes, one is killed with all its processes, while clients post. `zipf`: 16 small networks, of which
each of three workers holds 8 (or 4), are asked for by Zipf's law: the k-th 1/k times as often as
the first. How many images waited for a load is a count, which a busy machine hardly changes. All
nodes are on this machine, so no network is in the figures. Needs
`pip install 'mambaad-service[cluster]'`.
"""

import json
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import typer

from benchmarks.clustering.nodes import (
    RayNodes,
    await_workers,
    processor_s,
    ray_nodes,
    service,
    service_on,
)
from benchmarks.clustering.poster import CLIENTS, Poster
from benchmarks.clustering.zipf import CHECKPOINTS, LOADS, measure, zipf_service
from benchmarks.loading import CannotMeasure
from benchmarks.loading.subject import about

NODES = 3
UNCOUNTED_PAIRS = 10

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Weights = Annotated[Path, typer.Option(help="Checkpoint store.")]
Images = Annotated[Path, typer.Option(help="Images to post, as <category>/<image>.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]


@app.command()
def hop(
    *,
    pairs: Annotated[int, typer.Option(min=10, help="Images sent to both services.")] = 400,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of a closed loop, of each.")] = 6,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of such a round.")] = 10.0,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    json_file: JsonFile = None,
) -> None:
    """Compare a service on a cluster of one node with a local one."""
    with (
        ray_nodes(1) as nodes,
        service(weights) as (local_url, local),
        service_on(nodes, weights, 1) as (cluster_url, clustered),
    ):
        both = (
            Poster(local_url, images, [local]),
            Poster(cluster_url, images, [clustered, nodes.folder]),
        )
        both[1].check(both[0].expected)
        described = about(local_url)
        times = _pairs(both, pairs)
        loops = _closed_loops(both, rounds, seconds)
    rates = [[loop.images_per_s for loop in of_one] for of_one in loops]
    differences = [cluster - local for local, cluster in zip(*times, strict=True)]
    ratios = [cluster / local for local, cluster in zip(*rates, strict=True)]
    result = {
        "pairs": pairs,
        "local_ms": _summary(times[0]),
        "cluster_ms": _summary(times[1]),
        "median_difference_ms": round(median(differences), 2),
        "clients": CLIENTS,
        "local_images_per_s": [round(rate, 2) for rate in rates[0]],
        "cluster_images_per_s": [round(rate, 2) for rate in rates[1]],
        "median_share_of_throughput": round(median(ratios), 3),
        "local_processor_ms": round(median(loop.processor_ms for loop in loops[0]), 2),
        "cluster_processor_ms": round(median(loop.processor_ms for loop in loops[1]), 2),
    }
    _write(json_file, described, result)


def _pairs(both: tuple[Poster, Poster], pairs: int) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs + UNCOUNTED_PAIRS):
        for place in (0, 1) if pair % 2 else (1, 0):
            times[place].append(both[place].timed_ms())
    return times[0][UNCOUNTED_PAIRS:], times[1][UNCOUNTED_PAIRS:]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A round of clients: images a second, and processor time of an image."""

    images_per_s: float
    processor_ms: float


def _closed_loops(
    both: tuple[Poster, Poster], rounds: int, seconds: float
) -> tuple[list[ClosedLoop], list[ClosedLoop]]:
    """Return the rounds of each; the first one of each does not count."""
    at_rest = [_processor_share(poster, seconds) for poster in both]
    loops: tuple[list[ClosedLoop], list[ClosedLoop]] = ([], [])
    for number in range(rounds + 1):
        for place in (0, 1) if number % 2 else (1, 0):
            loops[place].append(_closed_loop(both[place], seconds, at_rest[place]))
    return loops[0][1:], loops[1][1:]


def _processor_share(poster: Poster, seconds: float) -> float:
    """Return the processor time that a second takes without images."""
    before, began = processor_s(poster.folders), time.monotonic()
    time.sleep(seconds)
    return (processor_s(poster.folders) - before) / (time.monotonic() - began)


def _closed_loop(poster: Poster, seconds: float, at_rest: float) -> ClosedLoop:
    ends = time.monotonic() + seconds

    def client(_: int) -> int:
        count = 0
        while time.monotonic() < ends:
            poster.timed_ms()
            count += 1
        return count

    before, began = processor_s(poster.folders), time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as threads:
        count = sum(threads.map(client, range(CLIENTS)))
    passed_s = time.monotonic() - began
    processor = processor_s(poster.folders) - before - at_rest * passed_s
    return ClosedLoop(count / passed_s, 1000 * processor / count)


@dataclass(frozen=True, slots=True)
class NodeLoss:
    """A killed node: the seconds until the next answer, and the slowest answer.

    `next_answer_s` is that of the first part that was posted after the kill; `slowest_answer_s` is
    that of any part that was answered after it, of which `undecided` had no decision.
    """

    next_answer_s: float
    slowest_answer_s: float
    answered: int
    undecided: int


@app.command()
def recovery(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Nodes to kill.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Posting after each kill.")] = 20.0,
    clients: Annotated[int, typer.Option(min=1)] = 4,
    weights: Weights = Path("weights"),
    images: Images = Path("samples"),
    json_file: JsonFile = None,
) -> None:
    """Kill a node of three under load, several times."""
    losses = []
    with ray_nodes(NODES) as nodes, service_on(nodes, weights, NODES) as (url, _):
        poster = Poster(url, images)
        described = about(url)
        for number in range(rounds):
            losses.append(_lose(nodes, poster, f"{NODES + number}", clients, seconds))
            print(losses[-1], flush=True)
            nodes.do(f"add {NODES + number + 1}")
            await_workers(url, NODES)
    result = {
        "nodes": NODES,
        "clients": clients,
        "median_next_answer_s": median(loss.next_answer_s for loss in losses),
        "median_slowest_answer_s": median(loss.slowest_answer_s for loss in losses),
        "undecided": sum(loss.undecided for loss in losses),
        "losses": [asdict(loss) for loss in losses],
    }
    _write(json_file, described, result)


def _lose(nodes: RayNodes, poster: Poster, node: str, clients: int, seconds: float) -> NodeLoss:
    """Kill a node while clients post; they go on for so many seconds."""
    killed_at: list[float] = []
    posts: list[tuple[float, float, bool]] = []
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            posted_at = time.monotonic()
            result = poster.post()
            if result is not None:
                poster.check(result)
            posts.append((posted_at, time.monotonic(), result is not None))

    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(client) for _ in range(clients)]
        try:
            time.sleep(2.0)
            killed_at.append(time.monotonic())
            nodes.do(f"end {node}")
            time.sleep(max(0.0, killed_at[0] + seconds - time.monotonic()))
        finally:
            done.set()
        for each in running:
            each.result()
    return loss_of(posts, killed_at[0])


def loss_of(posts: Sequence[tuple[float, float, bool]], killed_at: float) -> NodeLoss:
    """Judge posts: the times of each and of its answer, and whether it was decided."""
    after = [post for post in posts if post[1] > killed_at]
    decided = [post for post in after if post[2]]
    following = [answered for posted, answered, _ in decided if posted > killed_at]
    if not following:
        raise CannotMeasure("no part was decided after the node was killed")
    return NodeLoss(
        next_answer_s=min(following) - killed_at,
        slowest_answer_s=max(answered - posted for posted, answered, _ in decided),
        answered=len(decided),
        undecided=len(after) - len(decided),
    )


@app.command()
def zipf(
    *,
    images: Annotated[int, typer.Option(min=100, help="Images of each run.")] = 3000,
    json_file: JsonFile = None,
) -> None:
    """Ask for 16 checkpoints by Zipf's law on three workers that hold 8 each, or 4."""
    runs = []
    with ray_nodes(NODES) as nodes:
        for load in LOADS:
            with zipf_service(nodes, load, NODES) as (url, categories):
                described = about(url)
                runs.append(measure(url, categories, load, images))
            print(runs[-1], flush=True)
    shape = {"checkpoints": CHECKPOINTS, "workers": NODES, "images": images}
    _write(json_file, described, {**shape, "runs": runs})


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {"p50": round(median(times), 2), "p99": round(quantiles(times, n=100)[98], 2)}


def _write(json_file: Path | None, described: dict[str, Any], result: dict[str, Any]) -> None:
    typer.echo(json.dumps(result, indent=2))
    if json_file is not None:
        command = {"command": shlex.join(["python", "-m", "benchmarks.cluster", *sys.argv[1:]])}
        content = json.dumps(described | command | result, indent=2) + "\n"
        json_file.write_text(content, "utf-8")


if __name__ == "__main__":
    try:
        app()
    except CannotMeasure as error:
        sys.exit(f"cluster: {error}")
