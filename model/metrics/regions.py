"""AUPRO in memory, as its definition reads: small sets, and what the streaming one is held to."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

from model.metrics.ranking import has_both

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


def label_regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "h w"], int]:
    """Return the connected patches of a mask (8 neighbours) numbered from 1, and how many."""
    labels, found = scipy.ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    return labels, int(found)


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
    if not has_both(masks, maps):
        return None
    normals = maps[~masks]
    count = len(normals)
    kept = min(int(fpr_limit * count) + 1, count)
    # Below the kept-th highest normal pixel the rate is past the limit: nothing there counts.
    cutoff = np.partition(normals, count - kept)[count - kept]
    normals = np.sort(normals[normals >= cutoff])
    kept = len(normals)
    area = 0.0
    regions = 0
    for mask, values in zip(masks, maps, strict=True):
        labels, found = label_regions(mask)
        regions += found
        marked = mask & (values >= cutoff)
        sizes = np.bincount(labels.ravel())
        above = (kept - np.searchsorted(normals, values[marked], side="right")) / count
        reached = (kept - np.searchsorted(normals, values[marked], side="left")) / count
        area += float(np.sum(covered_area(above, reached, fpr_limit) / sizes[labels[marked]]))
    return area / regions / fpr_limit


def covered_area(
    above: Float[np.ndarray, " m"], reached: Float[np.ndarray, " m"], limit: float
) -> Float[np.ndarray, " m"]:
    """Return the integral over the rate, 0 to `limit`, of how far each marked pixel is counted.

    A marked pixel counts from the rate `above` of normal pixels higher than it; where normal
    pixels tie with it, the straight line lets it count gradually, up to the rate `reached`.
    """
    past = np.maximum(reached - limit, 0)
    # The triangle of the ramp, less what of it lies past the limit, and the full height after it.
    ramp = np.maximum(reached - above, np.finfo(np.float64).tiny)
    within = np.where(past > 0, (limit - above) ** 2 / (2 * ramp), limit - (above + reached) / 2)
    return np.where(above < limit, within, 0.0)
