"""The claims about speed, each measured and judged."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.loading import CannotMeasure
from benchmarks.loading.arrivals import Arrivals, schedule
from benchmarks.loading.conducting import measure
from benchmarks.loading.ideal import ideal_latencies, line_through
from benchmarks.loading.report import Summary, summarise
from benchmarks.loading.sender import ClosedLoop, OpenLoop, Target

_SINGLE_REQUESTS_S = 10.0
_STEADY = 1.2
"""How much faster one round may be than another, and the compared than the reference."""
_ROUNDS_OF_ANSWERS = 4
"""Answers to each of the requests on their way, for their rate to be known."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of a run after its warm-up, how often, by how many senders."""

    seconds: float
    warm_up_s: float
    rounds: int
    senders: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, what was measured, and what it was held against."""

    claim: str
    holds: bool
    measured: float
    limit: float
    explanation: str
    doubt: str | None = None

    def text(self) -> str:
        """Return the verdict for people."""
        words = "HOLDS" if self.holds else "DOES NOT HOLD"
        doubt = f"\n  NOT TO BE TRUSTED: {self.doubt}" if self.doubt else ""
        return f"{words}: {self.claim}\n  {self.explanation}{doubt}"


def closed(
    target: Target, categories: Sequence[str], concurrency: int, effort: Effort, what: str
) -> Summary:
    """Measure the capacity: a number of requests always on their way."""
    duration = effort.warm_up_s + effort.seconds
    work = ClosedLoop(categories, concurrency, duration)
    measured = measure(target, work, duration, effort.warm_up_s, what, effort.senders)
    return summarise(measured, at_least=_ROUNDS_OF_ANSWERS * concurrency)


def opened(
    target: Target,
    arrivals: Arrivals,
    rate: float,
    mix: dict[str, float],
    effort: Effort,
    seed: int,
) -> Summary:
    """Measure latencies at a rate of arrivals."""
    duration = effort.warm_up_s + effort.seconds
    work = OpenLoop(schedule(arrivals, rate, duration, mix, seed))
    what = f"{rate:.2f}/s"
    measured = measure(target, work, duration, effort.warm_up_s, what, effort.senders)
    return summarise(measured, rate)


def throughput(
    serving: Callable[[], AbstractContextManager[tuple[Target, Sequence[str]]]],
    detector_rate: Callable[[], float],
    batch_size: int,
    lanes: int,
    effort: Effort,
) -> tuple[Verdict, dict[str, Any]]:
    """Hold `POST /detect` against the Detector's own, in rounds of one and the other.

    Each has a process of its own in every round, since two that do the same differ by some 5 %.
    `lanes` is how many batches the service computes at once; each is kept as large as the
    Detector's.
    """
    own: list[float] = []
    runs: list[Summary] = []
    for number in range(effort.rounds):
        own.append(detector_rate())
        with serving() as (target, categories):
            what = f"POST /detect, round {number + 1}"
            runs.append(closed(target, categories[:1], 2 * batch_size * lanes, effort, what))
    served, alone = median(run.achieved for run in runs), median(own)
    ratio = median(run.achieved / rate for run, rate in zip(runs, own, strict=True))
    seen = median(_mean_batch(run) for run in runs)
    verdict = Verdict(
        "throughput through POST /detect is at least 90 % of the Detector's own",
        ratio >= 0.9,
        ratio,
        0.9,
        f"{served:.2f} images/s through POST /detect in batches of {seen:.1f}, {alone:.2f} by the "
        f"Detector in batches of {batch_size} (medians of {effort.rounds} rounds); in a round, "
        f"{ratio:.1%} (median)",
        _drift(own, [run.achieved for run in runs]),
    )
    return verdict, {"detector_per_s": own, "runs": [asdict(run) for run in runs]}


def latency(
    target: Target,
    categories: Sequence[str],
    batch_size: int,
    share: float,
    effort: Effort,
    arrivals: Arrivals = Arrivals.POISSON,
    lanes: int = 1,
) -> tuple[Verdict, dict[str, Any]]:
    """Hold p99 at a share of the capacity against two unloaded latencies and one batch.

    `lanes` is how many batches the service computes at once.
    """
    mix = dict.fromkeys(categories, 1.0)
    short = Effort(_SINGLE_REQUESTS_S, effort.warm_up_s, 1)
    single = closed(target, categories[:1], 1, short, "one at a time")
    full = closed(target, categories, 2 * batch_size, effort, "capacity")
    assert single.latency is not None, "no request was answered"
    loaded = opened(target, arrivals, share * full.achieved, mix, effort, seed=0)
    single_ms, batch_ms = _batch_ms(single), _batch_ms(full)
    line = line_through(single_ms / 1e3, batch_ms / 1e3, _mean_batch(full))
    plan = schedule(arrivals, share * full.achieved, effort.seconds, mix)
    waits = ideal_latencies([shot.at_s for shot in plan], line, batch_size, lanes)
    ideal = {f"p{q}_ms": 1e3 * float(np.percentile(waits, q)) for q in (50, 95, 99)}
    limit = 2 * single.latency.p50_ms + batch_ms
    p99 = loaded.latency_all.p99_ms if loaded.latency_all else float("inf")
    failed = loaded.requests - loaded.codes.get("200", 0)
    verdict = Verdict(
        f"at {share:.0%} load ({arrivals} arrivals) p99 is at most twice the unloaded single "
        "latency plus one batch",
        p99 <= limit and not failed,
        p99,
        limit,
        f"p99 {p99:.1f} ms at {loaded.achieved:.2f}/s of {full.achieved:.2f}/s, {failed} failed; "
        f"limit 2 x {single.latency.p50_ms:.1f} + {batch_ms:.1f} (a batch of "
        f"{_mean_batch(full):.1f}) = {limit:.1f} ms; a device as fast that did nothing else would "
        f"come to {ideal['p99_ms']:.1f} ms",
    )
    runs = {"single": asdict(single), "capacity": asdict(full), "loaded": asdict(loaded)}
    return verdict, {**runs, "ideal": ideal}


def interleaved(
    target: Target, categories: Sequence[str], concurrency: int, effort: Effort
) -> tuple[Verdict, dict[str, Any]]:
    """Hold all categories in turn against one of them, in rounds of one and the other."""
    one: list[Summary] = []
    mixed: list[Summary] = []
    for number in range(effort.rounds):
        text = f"one category, round {number + 1}"
        one.append(closed(target, categories[:1], concurrency, effort, text))
        text = f"{len(categories)} categories, round {number + 1}"
        mixed.append(closed(target, categories, concurrency, effort, text))
    alone, together = (median(run.achieved for run in runs) for runs in (one, mixed))
    sizes = [median(_mean_batch(run) for run in runs) for runs in (one, mixed)]
    verdict = Verdict(
        f"{len(categories)} categories interleaved have at least 90 % of one's throughput",
        together >= 0.9 * alone,
        together / alone,
        0.9,
        f"{together:.2f} images/s in batches of {sizes[1]:.1f}, {alone:.2f} in batches of "
        f"{sizes[0]:.1f} of one category (medians of {effort.rounds}): {together / alone:.1%}",
        _drift([run.achieved for run in one], [run.achieved for run in mixed]),
    )
    return verdict, {"one": [asdict(r) for r in one], "interleaved": [asdict(r) for r in mixed]}


def _batch_ms(run: Summary) -> float:
    """Return what a batch took, by the service's own measure. Raises `CannotMeasure`."""
    if run.batches is None or run.batches.mean_ms is None:
        raise CannotMeasure("the service's /metrics do not say what its batches took")
    return run.batches.mean_ms


def _mean_batch(run: Summary) -> float:
    return run.batches.mean if run.batches else 0.0


def _drift(reference: Sequence[float], compared: Sequence[float]) -> str | None:
    """Say whether the machine's speed changed between runs by more than a claim's tenth allows."""
    spread = max(max(rates) / max(min(rates), 1e-9) for rates in (reference, compared))
    ratio = median(compared) / max(median(reference), 1e-9)
    if max(spread, ratio) <= _STEADY:
        return None
    return f"the machine's speed drifted: rounds differ by up to {max(spread, ratio) - 1:.0%}"
