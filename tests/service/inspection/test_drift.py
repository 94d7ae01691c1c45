"""Drift of scores: silent on the same line, an alarm on another, for any share of defects."""

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from service.inspection.drift import (
    MIN_PARTS,
    SHIFTED,
    WATCH,
    DriftMonitor,
    measure,
    stability_index,
)

STABLE = CheckpointKey("parts", "1")
CANARY = CheckpointKey("parts", "2")


def good(generator, parts, shift=0.0, spread=1.0):
    """Return scores like a network's: right-skewed, in arbitrary units."""
    return 3.0 + shift + spread * generator.gamma(4.0, 0.5, parts)


def with_defects(generator, parts, share, **line):
    scores = good(generator, parts, **line)
    ng = generator.random(parts) < share
    return np.where(ng, generator.uniform(8.0, 20.0, parts), scores)


def fitted(generator, held_out=300, alpha=0.01):
    scores = good(generator, held_out)
    return Calibration.fit(scores, scores, alpha)


@pytest.fixture
def generator():
    return np.random.default_rng(20)


@pytest.mark.parametrize("held_out", [110, 300, 2000])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.4])
def test_no_alarm_on_the_line_that_was_calibrated_on(generator, held_out, share):
    """100 calibrations meet one window each; by chance, one in ten thousand exceeds the limit."""
    drifts = [
        measure(with_defects(generator, 500, share), fitted(generator, held_out, 0.05))
        for _ in range(100)
    ]
    assert not any(drift.is_shifted for drift in drifts)
    # Defects raise the share over the threshold, but hardly the index.
    assert np.mean([drift.over_threshold for drift in drifts]) == pytest.approx(
        share + (1 - share) * 0.05, abs=0.02
    )
    assert np.mean([drift.psi for drift in drifts]) < WATCH


@pytest.mark.parametrize(
    "line",
    [{"shift": 1.0}, {"shift": -0.8}, {"spread": 0.5}, {"spread": 2.0}, {"shift": -3.0}],
    ids=str,
)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_alarm_on_a_line_that_changed(generator, line, share):
    for _ in range(20):
        drift = measure(with_defects(generator, 500, share, **line), fitted(generator))
        assert drift.is_shifted, drift


def test_few_held_out_parts_or_few_in_the_window_ask_for_more(generator):
    sure = measure(good(generator, 2000), fitted(generator, 2000)).limit
    few_held_out = measure(good(generator, 2000), fitted(generator, 40)).limit
    few_parts = measure(good(generator, 100), fitted(generator, 2000)).limit
    assert sure == SHIFTED
    assert few_held_out > SHIFTED
    assert SHIFTED <= few_parts < few_held_out


def test_a_threshold_set_while_serving_moves_the_comparison_along(generator):
    calibration = fitted(generator, 2000)
    middle = float(np.quantile(good(generator, 2000), 0.6))
    drift = measure(good(generator, 1000), calibration.with_thresholds(image=middle))
    assert drift.over_threshold == pytest.approx(0.4, abs=0.05)
    assert drift.psi < WATCH


def test_where_nothing_can_be_compared_nothing_is_said(generator, calibration):
    scores = good(generator, 500)
    assert measure(scores, calibration(5.0)).psi is None  # it has no quantiles
    below_all = fitted(generator).with_thresholds(image=0.0)
    assert measure(scores, below_all).psi is None
    constant = Calibration.fit([1.0] * 50, [1.0] * 50)
    assert measure(np.ones(500), constant).psi is None
    all_over = measure(scores + 100, fitted(generator))
    assert (all_over.psi, all_over.over_threshold) == (None, 1.0)
    assert not all_over.is_shifted


def test_the_index_is_the_textbooks():
    counts = np.array([99.5, 199.5, 299.5, 399.5])
    actual = np.array([0.1, 0.2, 0.3, 0.4])
    expected = np.sum((actual - 0.25) * np.log(actual / 0.25))
    assert stability_index(counts) == pytest.approx(expected)
    assert stability_index([100, 100, 100]) == 0
    assert np.isfinite(stability_index([500, 0, 0]))


class Line:
    """A category's parts, and their metrics."""

    def __init__(self, metrics, calibration, **options):
        self.metrics, self.calibration = metrics, calibration
        self.monitor = DriftMonitor(metrics, **options)

    def inspect(self, scores, checkpoint=STABLE):
        for score in scores:
            self.monitor.note("bolt", checkpoint, self.calibration, float(score))

    def sample(self, name, checkpoint=STABLE, **more):
        labels = {"category": "bolt", "model": checkpoint.name, "version": checkpoint.version}
        return self.metrics.registry.get_sample_value(name, labels | more)

    def alarms(self, checkpoint=STABLE):
        return tuple(
            self.sample("mambaad_drift_alarm", checkpoint, reason=reason)
            for reason in ("shape", "share")
        )


def test_the_monitor_waits_speaks_alarms_and_calms_down(metrics, generator):
    line = Line(metrics, fitted(generator))
    line.inspect(good(generator, MIN_PARTS - 1))
    assert line.sample("mambaad_over_threshold_ratio") is None
    line.inspect(good(generator, 401))
    assert line.sample("mambaad_drift_window_parts") == 500
    assert line.sample("mambaad_score_psi_ratio") < WATCH
    assert line.alarms() == (0, 0)
    line.inspect(good(generator, 500, shift=1.0))
    assert line.sample("mambaad_score_psi_ratio") > SHIFTED
    assert line.alarms() == (1, 0)
    line.inspect(good(generator, 500, shift=50.0))  # too few pass for an index
    assert line.sample("mambaad_score_psi_ratio") is None
    assert line.sample("mambaad_over_threshold_ratio") == 1.0
    assert line.alarms() == (0, 1)
    line.inspect(good(generator, 500))
    assert line.alarms() == (0, 0)


def test_each_checkpoint_has_its_own_window_and_an_idle_one_is_forgotten(metrics, generator):
    line = Line(metrics, fitted(generator), window=100)
    line.inspect(good(generator, 100))
    line.inspect(good(generator, 100, shift=2.0), CANARY)
    assert line.alarms() == (0, 0)
    assert line.alarms(CANARY)[0] == 1
    line.inspect(good(generator, 201, shift=2.0), CANARY)
    assert line.alarms() == (None, None)
    assert line.sample("mambaad_drift_window_parts") is None
    assert line.alarms(CANARY)[0] == 1
