"""The claims about speed: measures and judges each."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from benchmarks.loading import CannotMeasure
from benchmarks.loading.arrivals import Arrivals, schedule
from benchmarks.loading.conducting import measure
from benchmarks.loading.ideal import ideal_latencies, line_through
from benchmarks.loading.report import Summary, summarise
from benchmarks.loading.sender import ClosedLoop, OpenLoop, Target
from benchmarks.loading.steadiness import Steadiness, machine_speed

_SINGLE_REQUESTS_S = 10.0
_STEADY = 1.2
"""Largest ratio between the rounds of one side, and of the compared side to the reference."""
_ROUNDS_OF_ANSWERS = 4
"""Number of answers per request in flight that a rate needs."""

Serving: TypeAlias = Callable[[], AbstractContextManager[tuple[Target, Sequence[str]]]]
"""Starts a service for the block; yields the target of the requests and the categories."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: seconds of a run after its warm-up, rounds, and senders."""

    seconds: float
    warm_up_s: float
    rounds: int
    senders: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, the measured value, and its limit."""

    claim: str
    holds: bool
    measured: float
    limit: float
    explanation: str
    doubt: str | None = None

    def text(self) -> str:
        """Return the verdict as readable text."""
        words = "HOLDS" if self.holds else "DOES NOT HOLD"
        doubt = f"\n  NOT TO BE TRUSTED: {self.doubt}" if self.doubt else ""
        return f"{words}: {self.claim}\n  {self.explanation}{doubt}"


def closed(
    target: Target, categories: Sequence[str], concurrency: int, effort: Effort, what: str
) -> Summary:
    """Measure the capacity with a constant number of requests in flight."""
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
    serving: Serving,
    detector_rate: Callable[[], float],
    batch_size: int,
    lanes: int,
    effort: Effort,
) -> tuple[Verdict, dict[str, Any]]:
    """Compare `POST /detect` with the Detector, in alternating rounds.

    Both get a new process in every round: equal processes differ by some 5 %. The service computes
    `lanes` batches at once, each as large as the Detector's.
    """
    detector: list[float] = []
    runs: list[Summary] = []
    for number in range(effort.rounds):
        detector.append(detector_rate())
        with serving() as (target, categories):
            what = f"POST /detect, round {number + 1}"
            runs.append(closed(target, categories[:1], 2 * batch_size * lanes, effort, what))
    served, alone = median(run.achieved for run in runs), median(detector)
    ratio = median(run.achieved / rate for run, rate in zip(runs, detector, strict=True))
    mean_batch = median(_mean_batch(run) for run in runs)
    verdict = Verdict(
        "throughput through POST /detect is at least 90 % of the Detector's own",
        ratio >= 0.9,
        ratio,
        0.9,
        f"{served:.2f} images/s through POST /detect in batches of {mean_batch:.1f}, {alone:.2f} "
        f"by the Detector in batches of {batch_size} (medians of {effort.rounds} rounds); in a "
        f"round, {ratio:.1%} (median)",
        _drift(detector, [run.achieved for run in runs]),
    )
    return verdict, {"detector_per_s": detector, "runs": [asdict(run) for run in runs]}


def latency(
    serving: Serving,
    batch_size: int,
    share: float,
    effort: Effort,
    arrivals: Arrivals = Arrivals.POISSON,
    lanes: int = 1,
) -> tuple[Verdict, dict[str, Any]]:
    """Compare p99 at a fraction of the capacity with two unloaded latencies plus one batch.

    Each round has a new service and new arrivals: batch sizes vary from start to start, p99 from
    draw to draw. The service computes `lanes` batches at once.
    """
    results: list[_Loaded] = []
    for number in range(effort.rounds):
        with serving() as (target, categories):
            result = _loaded(target, categories, batch_size, share, effort, arrivals, number)
        results.append(result)
        print(f"round {number + 1}: {result.text()}")
    failed = sum(result.failed for result in results)
    ratios = [result.ratio for result in results]
    capacities = [result.full.achieved for result in results]
    verdict = Verdict(
        f"at {share:.0%} load ({arrivals} arrivals) p99 is at most twice the unloaded single "
        "latency plus one batch",
        median(ratios) <= 1 and not failed,
        median(ratios),
        1.0,
        f"p99 is {median(ratios):.2f} of the limit (median of {effort.rounds} rounds, "
        f"{min(ratios):.2f} to {max(ratios):.2f}), {failed} requests failed",
        _drift(capacities, capacities),
    )
    return verdict, {"rounds": [result.as_dict(batch_size, lanes) for result in results]}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One round: requests one at a time, then at capacity, then at planned times."""

    single: Summary
    full: Summary
    loaded: Summary
    planned_s: Sequence[float]
    steadiness: Steadiness | None

    @property
    def limit_ms(self) -> float:
        assert self.single.latency is not None, "no request was answered"
        return 2 * self.single.latency.p50_ms + _batch_ms(self.full)

    @property
    def p99_ms(self) -> float:
        return self.loaded.latency_all.p99_ms if self.loaded.latency_all else float("inf")

    @property
    def ratio(self) -> float:
        return self.p99_ms / self.limit_ms

    @property
    def failed(self) -> int:
        return self.loaded.requests - self.loaded.codes.get("200", 0)

    def text(self) -> str:
        return (
            f"p99 {self.p99_ms:.1f} ms at {self.loaded.achieved:.2f}/s of "
            f"{self.full.achieved:.2f}/s; limit {self.limit_ms:.1f} ms, of which "
            f"{_batch_ms(self.full):.1f} for a batch of {_mean_batch(self.full):.1f}"
            f"{f'; {self.steadiness.text()}' if self.steadiness else ''}"
        )

    def as_dict(self, batch_size: int, lanes: int) -> dict[str, Any]:
        """Return all figures, with the latencies of an ideal device of the same speed."""
        line = line_through(
            _batch_ms(self.single) / 1e3, _batch_ms(self.full) / 1e3, _mean_batch(self.full)
        )
        waits = ideal_latencies(self.planned_s, line, batch_size, lanes)
        ideal = {f"p{q}_ms": 1e3 * float(np.percentile(waits, q)) for q in (50, 95, 99)}
        runs = {"single": self.single, "capacity": self.full, "loaded": self.loaded}
        figures = {name: asdict(run) for name, run in runs.items()}
        steady = self.steadiness and asdict(self.steadiness)
        figures |= {"ideal": ideal, "machine": steady}
        return figures | {"limit_ms": self.limit_ms, "ratio": self.ratio}


def _loaded(
    target: Target,
    categories: Sequence[str],
    batch_size: int,
    share: float,
    effort: Effort,
    arrivals: Arrivals,
    seed: int,
) -> _Loaded:
    mix = dict.fromkeys(categories, 1.0)
    short = Effort(_SINGLE_REQUESTS_S, effort.warm_up_s, 1)
    with machine_speed() as speed:
        single = closed(target, categories[:1], 1, short, "one at a time")
        times = [time.monotonic()]
        full = closed(target, categories, 2 * batch_size, effort, "capacity")
        times.append(time.monotonic())
        rate = share * full.achieved
        loaded = opened(target, arrivals, rate, mix, effort, seed)
        times.append(time.monotonic())
        speed.collect()
    steadiness = speed.steadiness(*times[1:], speed.work_s(*times[:2]))
    plan = schedule(arrivals, rate, effort.seconds, mix, seed)
    return _Loaded(single, full, loaded, [shot.at_s for shot in plan], steadiness)


def interleaved(
    target: Target, categories: Sequence[str], concurrency: int, effort: Effort
) -> tuple[Verdict, dict[str, Any]]:
    """Compare all categories in turn with one of them, in alternating rounds."""
    single: list[Summary] = []
    mixed: list[Summary] = []
    for number in range(effort.rounds):
        text = f"one category, round {number + 1}"
        single.append(closed(target, categories[:1], concurrency, effort, text))
        text = f"{len(categories)} categories, round {number + 1}"
        mixed.append(closed(target, categories, concurrency, effort, text))
    alone, together = (median(run.achieved for run in runs) for runs in (single, mixed))
    sizes = [median(_mean_batch(run) for run in runs) for runs in (single, mixed)]
    verdict = Verdict(
        f"{len(categories)} categories interleaved have at least 90 % of one's throughput",
        together >= 0.9 * alone,
        together / alone,
        0.9,
        f"{together:.2f} images/s in batches of {sizes[1]:.1f}, {alone:.2f} in batches of "
        f"{sizes[0]:.1f} of one category (medians of {effort.rounds}): {together / alone:.1%}",
        _drift([run.achieved for run in single], [run.achieved for run in mixed]),
    )
    return verdict, {"one": [asdict(r) for r in single], "interleaved": [asdict(r) for r in mixed]}


def _batch_ms(run: Summary) -> float:
    """Return the mean time of a batch from the service's metrics. Raises `CannotMeasure`."""
    if run.batches is None or run.batches.mean_ms is None:
        raise CannotMeasure(
            "the service's /metrics have no durations of batches; enable its metrics"
        )
    return run.batches.mean_ms


def _mean_batch(run: Summary) -> float:
    return run.batches.mean if run.batches else 0.0


def _drift(reference: Sequence[float], compared: Sequence[float]) -> str | None:
    """Return a doubt if the machine's speed changed too much between runs, or None."""
    spread = max(max(rates) / max(min(rates), 1e-9) for rates in (reference, compared))
    ratio = median(compared) / max(median(reference), 1e-9)
    if max(spread, ratio) <= _STEADY:
        return None
    return f"the machine's speed drifted: rounds differ by up to {max(spread, ratio) - 1:.0%}"
