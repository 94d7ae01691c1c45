"""The last minutes by the metrics: what came before them does not count."""

import pytest

from service.console.board.traffic import Traffic


def inspect(metrics, seconds, decision="OK", count=1):
    for _ in range(count):
        metrics.stage_seconds.labels("total", "bolt").observe(seconds)
        metrics.stage_seconds.labels("queue", "bolt").observe(9.0)
        metrics.decisions.labels("bolt", decision).inc()


def test_only_the_last_minutes_count(metrics):
    traffic = Traffic(metrics)
    inspect(metrics, 7.0, "UNDECIDED", 50)
    metrics.rejected.labels("queue-full").inc(3)
    metrics.compute_seconds.labels("cpu").inc(1000)
    traffic.note()
    before = traffic.recent()
    assert (before.images, before.p50_s, before.p95_s, before.undecided) == (0, None, None, None)
    assert before.refused == {}
    inspect(metrics, 0.03, count=90)
    inspect(metrics, 0.3, "UNDECIDED", 10)
    metrics.rejected.labels("rate-limited").inc(2)
    recent = traffic.recent()
    assert (recent.images, recent.undecided) == (100, 0.1)
    assert recent.p50_s == pytest.approx(0.025 + 0.025 * 50 / 90)
    assert recent.p95_s == pytest.approx(0.25 + 0.25 / 2)
    assert recent.refused == {"rate-limited": 2}
    assert recent.busy["cpu"] == 0


def test_old_samples_are_forgotten(metrics):
    traffic = Traffic(metrics)
    traffic.note()
    inspect(metrics, 0.03, count=5)
    for _ in range(31):
        traffic.note()
    assert traffic.recent().images == 0
