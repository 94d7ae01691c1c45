"""Starts, watches and collects senders; reads the service's counts before and after."""

import multiprocessing
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.loading.sender import READY, ClosedLoop, OpenLoop, Outcome, Sent, Target, run

_START_IN_S = 0.2
_POLL_S = 0.1
_SPAWN = multiprocessing.get_context("spawn")
_HISTOGRAMS = {"mambaad_batch_size": "", "mambaad_batch_duration_seconds": "seconds "}


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches that the service formed; `up_to` counts batches up to a size.

    `mean` is the mean number of images, `mean_ms` the mean duration; None if no batch ended.
    """

    count: int
    mean: float
    up_to: Mapping[str, int]
    mean_ms: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A run without its warm-up."""

    outcomes: list[Outcome]
    seconds: float
    batches: Batches | None
    sender_cpu_share: float


def measure(
    target: Target,
    work: OpenLoop | ClosedLoop,
    duration_s: float,
    warm_up_s: float,
    what: str,
    senders: int = 1,
) -> Measured:
    """Run senders for `duration_s`, and leave out the warm-up."""
    pipes = [_spawn(target, part) for part in _divide(work, senders)]
    start = _start(pipes)
    before: Mapping[str, float] = {}

    def watch(elapsed_s: float) -> None:
        nonlocal before
        if not before and elapsed_s >= warm_up_s:
            before = batch_counts(target.url)

    sent = _collect(pipes, start, duration_s, what, watch)
    after = batch_counts(target.url)
    outcomes = [outcome for part in sent for outcome in part.outcomes]
    counted = [outcome for outcome in outcomes if _time_of(work, outcome) >= warm_up_s]
    return Measured(
        sorted(counted, key=lambda outcome: outcome.done_s),
        duration_s - warm_up_s,
        batches_between(before, after),
        max(part.cpu_share for part in sent),
    )


def _time_of(work: OpenLoop | ClosedLoop, outcome: Outcome) -> float:
    """Return an outcome's time: the intended one or, in a closed loop, the end."""
    return outcome.intended_s if isinstance(work, OpenLoop) else outcome.done_s


def _divide(work: OpenLoop | ClosedLoop, senders: int) -> list[OpenLoop | ClosedLoop]:
    if isinstance(work, OpenLoop):
        return [OpenLoop(work.shots[number::senders]) for number in range(senders)]
    share = max(1, work.concurrency // senders)
    return [ClosedLoop(work.categories, share, work.duration_s) for _ in range(senders)]


def _spawn(target: Target, work: OpenLoop | ClosedLoop) -> Connection:
    parent_end, child_end = _SPAWN.Pipe()
    _SPAWN.Process(target=run, args=(child_end, target, work), daemon=True).start()
    child_end.close()
    return parent_end


def _start(pipes: list[Connection]) -> float:
    """Start all senders at the same time, once all have finished their imports."""
    for pipe in pipes:
        assert _receive(pipe) == READY
    start = time.monotonic() + _START_IN_S
    for pipe in pipes:
        pipe.send(start)
    return start


def _collect(
    pipes: list[Connection],
    start: float,
    duration_s: float,
    what: str,
    watch: Callable[[float], None],
) -> list[Sent]:
    """Show the senders' progress, and wait for their results."""
    done = [0] * len(pipes)
    sent: dict[int, Sent] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=duration_s)
        while len(sent) < len(pipes):
            time.sleep(_POLL_S)
            elapsed = time.monotonic() - start
            watch(elapsed)
            for number, pipe in enumerate(pipes):
                while number not in sent and pipe.poll():
                    message = _receive(pipe)
                    if isinstance(message, Sent):
                        sent[number] = message
                    elif isinstance(message, int):
                        done[number] = message
            text = f"{what}: {sum(done)} answered"
            bar.update(task, completed=max(0.0, elapsed), description=text)
    return [sent[number] for number in range(len(pipes))]


def _receive(pipe: Connection) -> int | str | Sent:
    try:
        message: int | str | Sent = pipe.recv()
    except EOFError as error:
        raise RuntimeError("a sender died; its traceback is above") from error
    return message


def batch_counts(url: str) -> dict[str, float]:
    """Return the service's histograms of batches, summed over workers; empty without metrics.

    Keys are the buckets' bounds, `count` and `sum`; those for durations begin with `seconds`.
    """
    counts: dict[str, float] = {}
    with suppress(OSError), urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            prefix = _HISTOGRAMS.get(family.name)
            for sample in family.samples if prefix is not None else ():
                key = f"{prefix}{sample.labels.get('le') or sample.name.rpartition('_')[2]}"
                counts[key] = counts.get(key, 0.0) + sample.value
    return counts


def batches_between(before: Mapping[str, float], after: Mapping[str, float]) -> Batches | None:
    """Return the batches formed between two readings, or None."""
    change = {key: value - before.get(key, 0.0) for key, value in after.items()}
    batches, ended = change.get("count", 0.0), change.get("seconds count", 0.0)
    if not batches:
        return None
    sizes = {key: int(n) for key, n in change.items() if key[0].isdigit() or key == "+Inf"}
    mean_ms = 1000 * change["seconds sum"] / ended if ended else None
    return Batches(int(batches), change["sum"] / batches, sizes, mean_ms)
