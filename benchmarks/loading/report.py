"""Computes figures from outcomes: percentiles, errors, decisions, and the sender's lateness."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.loading.conducting import Batches, Measured
from benchmarks.loading.sender import Outcome

PERCENTILES = (50, 95, 99, 100)
LATE_MS = 10.0
BUSY_SHARE = 0.8
MIN_ANSWERS = 20
_TOO_SHORT = "only {} good answers, at least {} are needed: increase --seconds"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a request's intended time to its answer's last byte."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a run; latencies are those of answers 200, unless named `all`.

    `offered` is the intended number of requests a second (None in a closed loop), `achieved` that
    of answers 200. `doubt` says why figures are unreliable: a late sender or a short run.
    """

    requests: int
    seconds: float
    offered: float | None
    achieved: float
    latency: Latency | None
    latency_all: Latency | None
    by_category: Mapping[str, Latency]
    codes: Mapping[str, int]
    problems: Mapping[str, int]
    decisions: Mapping[str, int]
    batches: Batches | None
    late_p99_ms: float
    late_max_ms: float
    sender_cpu_share: float
    doubt: str | None


def summarise(
    measured: Measured, offered: float | None = None, at_least: int = MIN_ANSWERS
) -> Summary:
    """Return the figures of a run; `offered` is the rate of an open loop.

    Fewer than `at_least` good answers raise a doubt.
    """
    outcomes = measured.outcomes
    good = [outcome for outcome in outcomes if outcome.status == 200]
    late = [outcome.lateness_ms for outcome in outcomes] or [0.0]
    late_p99 = float(np.percentile(late, 99))
    return Summary(
        requests=len(outcomes),
        seconds=measured.seconds,
        offered=offered,
        achieved=throughput(good) if offered is None else len(good) / measured.seconds,
        latency=latency_of(good),
        latency_all=latency_of(outcomes),
        by_category={
            category: latency
            for category in sorted({outcome.category for outcome in good})
            if (latency := latency_of([o for o in good if o.category == category]))
        },
        codes=_counts(str(outcome.status) for outcome in outcomes),
        problems=_counts(outcome.problem for outcome in outcomes if outcome.problem),
        decisions=_counts(outcome.decision for outcome in good),
        batches=measured.batches,
        late_p99_ms=late_p99,
        late_max_ms=max(late),
        sender_cpu_share=measured.sender_cpu_share,
        doubt=_sender_doubt(late_p99, measured.sender_cpu_share)
        or (_TOO_SHORT.format(len(good), at_least) if len(good) < at_least else None),
    )


def throughput(outcomes: Sequence[Outcome]) -> float:
    """Return answers a second: the slope of their count over time.

    Answers come in batches, so counting them in a window could be off by a batch at each end.
    """
    done = np.sort([outcome.done_s for outcome in outcomes])
    if len(done) < 2 or done[-1] <= done[0]:
        return 0.0
    return float(np.polyfit(done - done[0], np.arange(len(done)), 1)[0])


def latency_of(outcomes: Sequence[Outcome]) -> Latency | None:
    """Return the percentiles, or None without outcomes."""
    if not outcomes:
        return None
    return Latency(*map(float, np.percentile([o.latency_ms for o in outcomes], PERCENTILES)))


def _counts(words: object) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))  # type: ignore[call-overload]


def _sender_doubt(late_p99_ms: float, cpu_share: float) -> str | None:
    if cpu_share > BUSY_SHARE:
        return f"the sender took {cpu_share:.0%} of a core: use more --senders"
    if late_p99_ms > LATE_MS:
        return (
            f"the sender was late by {late_p99_ms:.1f} ms at the 99th percentile: the machine or "
            "the sender is too busy (use more --senders)"
        )
    return None


def text_of(summary: Summary) -> str:
    """Return the figures as readable text."""
    s = summary
    aim = f", offered {s.offered:.2f}/s" if s.offered is not None else ""
    lines = [
        f"{s.requests} requests in {s.seconds:.0f} s{aim}, answered 200: {s.achieved:.2f}/s",
        f"  {'latency (ms)':24}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}",
    ]
    rows = {"answered 200": s.latency}
    if s.latency_all != s.latency:
        rows["all, errors too"] = s.latency_all
    rows |= s.by_category if len(s.by_category) > 1 else {}
    for name, latency in rows.items():
        if latency:
            values = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
            lines.append(f"  {name:24}" + "".join(f"{value:9.1f}" for value in values))
    for name, counts in {
        "status": s.codes, "problems": s.problems, "decisions": s.decisions,
    }.items():  # fmt: skip
        if counts:
            lines.append(f"  {name}: " + ", ".join(f"{k} {n}" for k, n in counts.items()))
    if s.batches:
        took = f" and {s.batches.mean_ms:.1f} ms" if s.batches.mean_ms is not None else ""
        lines.append(
            f"  batches: {s.batches.count}, of {s.batches.mean:.2f} images{took} on average"
        )
    lines.append(
        f"  sender: late by {s.late_p99_ms:.1f} ms (p99), {s.late_max_ms:.1f} ms (max); "
        f"{s.sender_cpu_share:.0%} of a core"
    )
    if s.doubt:
        lines.append(f"  NOT TO BE TRUSTED: {s.doubt}")
    return "\n".join(lines)
