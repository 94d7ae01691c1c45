"""How well scores tell defective from good: the field's metrics on plain arrays.

A metric that does not exist for the images at hand (no good ones, no defective ones, no marked
region) is None. Labels are True for defective. AUROC, AP and F1-max are scikit-learn's; AUPRO is
exact here.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from model.errors import ModelError, NonFiniteOutput

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


def auroc(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> float | None:
    """Return the area under the ROC curve: how often a defective one scores above a good one."""
    if not _has_both(labels, scores):
        return None
    try:
        from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - only the extra 'train' has it
    except ImportError as error:
        raise _missing_scikit_learn() from error
    return float(roc_auc_score(labels.ravel(), scores.ravel()))


def average_precision(
    labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]
) -> float | None:
    """Return the average precision: the precision at each defective one's rank, averaged."""
    if not _has_both(labels, scores):
        return None
    try:
        from sklearn.metrics import average_precision_score  # noqa: PLC0415
    except ImportError as error:
        raise _missing_scikit_learn() from error
    return float(average_precision_score(labels.ravel(), scores.ravel()))


def f1_max(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> float | None:
    """Return the highest F1 score that any threshold reaches."""
    if not _has_both(labels, scores):
        return None
    try:
        from sklearn.metrics import precision_recall_curve  # noqa: PLC0415
    except ImportError as error:
        raise _missing_scikit_learn() from error
    precision, recall, _ = precision_recall_curve(labels.ravel(), scores.ravel())
    # The curve ends at recall 0, where F1 is 0 too: the floor only keeps 0 / 0 out.
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def aupro(
    masks: Bool[np.ndarray, "n h w"],
    maps: Float[np.ndarray, "n h w"],
    fpr_limit: float = 0.3,
) -> float | None:
    """Return the area under the per-region-overlap curve, up to `fpr_limit`, as a share of it.

    A region is a connected patch of a mask (8 neighbours); overlap is the share of its pixels at
    or above the threshold, averaged over the regions of all images; the false-positive rate is
    over all unmarked pixels. Every distinct value is a threshold, and the curve is joined by
    straight lines, so this is exact (the published evaluator steps through 100 thresholds).

    Sorts only the unmarked pixels within the limit, a copy of `fpr_limit` of the maps.
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], got {fpr_limit}")
    if not _has_both(masks, maps):
        return None
    normals = maps[~masks]
    count = len(normals)
    kept = min(int(fpr_limit * count) + 1, count)
    # Below the kept-th highest normal pixel the rate is past the limit: nothing there counts.
    cutoff = np.partition(normals, count - kept)[count - kept]
    normals = np.sort(normals[normals >= cutoff])
    area = 0.0
    regions = 0
    for mask, values in zip(masks, maps, strict=True):
        labels, found = scipy.ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
        regions += found
        marked = mask & (values >= cutoff)
        sizes = np.bincount(labels.ravel())
        area += float(
            np.sum(_area(values[marked], normals, count, fpr_limit) / sizes[labels[marked]])
        )
    return area / regions / fpr_limit


def _area(
    values: Float[np.ndarray, " m"], normals: Float[np.ndarray, " k"], count: int, limit: float
) -> Float[np.ndarray, " m"]:
    """Return the integral over the rate, 0 to `limit`, of how far each marked pixel is counted.

    A marked pixel counts from the rate `above` of normal pixels higher than it; where normal
    pixels tie with it, the straight line lets it count gradually, up to the rate `reached`.
    `normals` are the highest of `count` unmarked pixels, ascending.
    """
    above = (len(normals) - np.searchsorted(normals, values, side="right")) / count
    reached = (len(normals) - np.searchsorted(normals, values, side="left")) / count
    past = np.maximum(reached - limit, 0)
    # The triangle of the ramp, less what of it lies past the limit, and the full height after it.
    ramp = np.maximum(reached - above, np.finfo(np.float64).tiny)
    within = np.where(past > 0, (limit - above) ** 2 / (2 * ramp), limit - (above + reached) / 2)
    return np.where(above < limit, within, 0.0)


def _has_both(labels: np.ndarray, scores: np.ndarray) -> bool:
    """Check the arrays, and say whether there are good and defective ones to tell apart."""
    if labels.shape != scores.shape:
        raise ValueError(f"need one score per label, got {scores.shape} and {labels.shape}")
    bad = scores.size - int(np.count_nonzero(np.isfinite(scores)))
    if bad:
        raise NonFiniteOutput(f"{bad} of {scores.size} scores are NaN or infinite")
    return bool(labels.any()) and not bool(labels.all())


def _missing_scikit_learn() -> ModelError:
    return ModelError("evaluation needs scikit-learn: pip install 'mambaad-service[train]'")
