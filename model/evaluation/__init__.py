"""How good a checkpoint is, on test images.

Metrics of ranking (AUROC, AP, F1-max, AUPRO, AUPIMO) need no threshold; the false-reject and escape
rates are what the calibrated threshold, left as it is, does to these images. `untouched` says
whether training or calibration has seen them, `contradictions` whether they are what the threshold
was promised for.
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
