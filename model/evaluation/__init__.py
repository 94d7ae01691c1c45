"""Evaluate a checkpoint on test images.

    evaluation = evaluate(detector, dataset.test)
    evaluation.mean["image_auroc"]

Ranking metrics (AUROC, AP, F1-max, AUPRO, AUPIMO) need no threshold; the false-reject and escape
rates are at the calibrated threshold, which does not change. `untouched` checks whether training or
calibration has seen the images, `contradictions` whether the rates contradict the promises.
"""

from model.evaluation.comparing import Change, Comparison, Difference, compare
from model.evaluation.evaluating import evaluate
from model.evaluation.results import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    RATES,
    CategoryMetrics,
    DefectMetrics,
    Evaluation,
    ImageRecord,
)

__all__ = [
    "IMAGE_METRICS",
    "PIXEL_METRICS",
    "RATES",
    "CategoryMetrics",
    "Change",
    "Comparison",
    "DefectMetrics",
    "Difference",
    "Evaluation",
    "ImageRecord",
    "compare",
    "evaluate",
]
