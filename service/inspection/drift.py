"""Compares a category's latest scores with those that it was calibrated on.

Two numbers over a sliding window of parts separate bad parts from a changed camera:

- The share over the threshold. Both worse parts and a changed camera raise it.
- The population stability index (PSI) of the scores up to the threshold, against the held-out good
  parts: PSI = sum (p - q) ln(p / q), over bins that hold equal shares q of the good scores up to
  that threshold. Detected defects are left out, so the index shows whether passing parts still
  look like good ones, whatever the share of NG. It also detects a camera that lowers every score.

By the usual rule of thumb the index is stable below 0.1 and shifted above 0.25. With N parts up to
the threshold against M held out, chance alone makes it (1/N + 1/M) times a chi-squared of
(bins - 1) degrees (Yurdakul, "Statistical properties of the population stability index", 2018). The
alarm needs 0.25 and also the value that chance exceeds once in ten thousand windows.

Assumptions: the held-out parts represent the line's good ones, and successive parts are
independent. A change of the defects, all still detected, shows in the share alone.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from model.calibration.calibration import QUANTILES, Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.inspection.images.preparing import Prepared
from service.inspection.observers import ON_THE_LINE, Observer
from service.inspection.options import PartFields
from service.inspection.result import Inspected
from service.telemetry.metrics import Metrics
from service.versions.registry import Route

WATCH = 0.1
SHIFTED = 0.25
MIN_PARTS = 100
"""Parts in the window before anything is published."""

_BINS = 5
_MIN_BELOW = 50  # fewer parts up to the threshold give no meaningful index
_CHANCE = 1e-4
_EVERY = 10  # parts from one measurement to the next


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the latest scores are from the calibration's.

    `psi` is None if the calibration has no quantiles, or too few parts are up to the threshold.
    The alarm needs a `psi` above `limit`.
    """

    parts: int
    over_threshold: float
    psi: float | None
    limit: float

    @property
    def is_shifted(self) -> bool:
        """Whether passing parts no longer look like the held-out good ones."""
        return self.psi is not None and self.psi > self.limit


def measure(scores: npt.ArrayLike, calibration: Calibration) -> Drift:
    """Compare raw `scores` (at least one) with the calibration that decided by them."""
    raw = np.asarray(scores, dtype=np.float64)
    below = raw[raw <= calibration.image_threshold]
    over = 1 - len(below) / len(raw)
    good_below, edges = _reference(calibration)
    if edges is None or len(below) < _MIN_BELOW:
        return Drift(len(raw), over, None, SHIFTED)
    counts = np.bincount(np.searchsorted(edges, below), minlength=_BINS)
    noise = 1 / len(below) + 1 / (good_below * calibration.good_images)
    limit = max(SHIFTED, noise * float(chdtri(_BINS - 1, _CHANCE)))
    return Drift(len(raw), over, stability_index(counts), limit)


def stability_index(counts: npt.ArrayLike) -> float:
    """Return the PSI of counts in bins of equal expected shares; adds half a part to each bin."""
    smoothed = np.asarray(counts, dtype=np.float64) + 0.5
    actual = smoothed / smoothed.sum()
    expected = 1 / len(actual)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


@lru_cache(maxsize=256)
def _reference(calibration: Calibration) -> tuple[float, npt.NDArray[np.float64] | None]:
    """Return the share of held-out good parts up to the threshold, and the bins' inner edges."""
    good_below = _share_of_good(calibration)
    edges = None if calibration.good_quantiles is None else _edges(calibration, good_below)
    return good_below, edges


def _share_of_good(calibration: Calibration) -> float:
    """Return the share of held-out good parts up to the threshold."""
    if calibration.good_quantiles is None:
        return 0.0
    share = np.interp(
        calibration.image_threshold, calibration.good_quantiles, QUANTILES, left=0.0, right=1.0
    )
    return float(share)


def _edges(calibration: Calibration, good_below: float) -> npt.NDArray[np.float64] | None:
    """Return the bins' inner edges; None if the good scores have too few distinct values."""
    inner = good_below * np.arange(1, _BINS) / _BINS
    edges = np.interp(inner, QUANTILES, calibration.good_quantiles or ())
    return edges if len(np.unique(edges)) == _BINS - 1 else None


@dataclass(frozen=True, slots=True)
class DriftState:
    """The latest raw scores of a category by one checkpoint, beside those of its calibration.

    `drift` is None below `MIN_PARTS`; `max_over` is the largest allowed share over the threshold.
    """

    category: Category
    checkpoint: CheckpointKey
    scores: Sequence[float]
    calibration: Calibration
    drift: Drift | None
    max_over: float

    @property
    def alarms(self) -> list[str]:
        """The reasons of alarms: `shape`, `share`."""
        if self.drift is None:
            return []
        raised = {
            "shape": self.drift.is_shifted,
            "share": self.drift.over_threshold > self.max_over,
        }
        return [reason for reason, is_raised in raised.items() if is_raised]


class _Window:
    """The latest scores by one checkpoint, and the calibration that decided the last one.

    `count` counts all its scores, `seen` its category's parts up to its latest score.
    """

    def __init__(self, parts: int, calibration: Calibration) -> None:
        self.scores: deque[float] = deque(maxlen=parts)
        self.calibration = calibration
        self.count = 0
        self.seen = 0


class DriftMonitor(Observer):
    """Publishes the drift of every category and checkpoint (canary and stable apart).

    `window` is the number of parts compared, at least `MIN_PARTS`; a share over the threshold above
    `max_over` raises an alarm. A checkpoint with none of its category's latest 2 x `window` parts
    is forgotten.
    """

    name = "drift"
    origins = ON_THE_LINE

    def __init__(self, metrics: Metrics, window: int = 500, max_over: float = 0.5) -> None:
        self._metrics = metrics
        self._size = window
        self._max_over = max_over
        self._windows: dict[Category, dict[CheckpointKey, _Window]] = {}
        self._parts: dict[Category, int] = {}

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Record the score of an image."""
        raw_score = inspected.finding.raw_score
        self.note(route.category, route.checkpoint, route.calibration, raw_score)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Do nothing: there is no score."""

    def note(
        self, category: Category, checkpoint: CheckpointKey, calibration: Calibration, raw: float
    ) -> None:
        """Record a part's raw score, and publish drift by the calibration that decided it."""
        windows = self._windows.setdefault(category, {})
        window = windows.setdefault(checkpoint, _Window(self._size, calibration))
        window.calibration = calibration
        window.scores.append(raw)
        window.count += 1
        window.seen = self._parts[category] = self._parts.get(category, 0) + 1
        if window.seen % _EVERY == 0:
            self._forget_idle(category, windows)
        if window.count >= MIN_PARTS and window.count % _EVERY == 0:
            self._publish(category, checkpoint, measure(window.scores, calibration))

    def states(self) -> list[DriftState]:
        """Return the state of each category and checkpoint, by category."""
        return [
            DriftState(
                category,
                checkpoint,
                list(window.scores),
                window.calibration,
                measure(window.scores, window.calibration) if window.count >= MIN_PARTS else None,
                self._max_over,
            )
            for category, windows in sorted(self._windows.items())
            for checkpoint, window in windows.items()
        ]

    def _forget_idle(self, category: Category, windows: Mapping[CheckpointKey, _Window]) -> None:
        oldest = self._parts[category] - 2 * self._size
        for checkpoint in [key for key, window in windows.items() if window.seen < oldest]:
            del self._windows[category][checkpoint]
            labels = (category, checkpoint.name, checkpoint.version)
            self._metrics.drift_window.remove(*labels)
            self._metrics.over_threshold.remove(*labels)
            self._metrics.drift_psi.remove(*labels)
            self._metrics.drift_alarm.remove(*labels, "shape")
            self._metrics.drift_alarm.remove(*labels, "share")

    def _publish(self, category: Category, checkpoint: CheckpointKey, drift: Drift) -> None:
        labels = (category, checkpoint.name, checkpoint.version)
        self._metrics.drift_window.labels(*labels).set(drift.parts)
        self._metrics.over_threshold.labels(*labels).set(drift.over_threshold)
        if drift.psi is None:
            self._metrics.drift_psi.remove(*labels)
        else:
            self._metrics.drift_psi.labels(*labels).set(drift.psi)
        self._metrics.drift_alarm.labels(*labels, "shape").set(drift.is_shifted)
        over = drift.over_threshold > self._max_over
        self._metrics.drift_alarm.labels(*labels, "share").set(over)
