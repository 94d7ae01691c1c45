"""AUPRO in memory, straight from its definition: for small sets, and as the oracle of `pixels`."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

from model.metrics.ranking import has_both

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


def label_regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "h w"], int]:
    """Return the connected patches of a mask (8 neighbours) numbered from 1, and their count."""
    labels, count = scipy.ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    return labels, int(count)


def aupro(
    masks: Bool[np.ndarray, "n h w"],
    maps: Float[np.ndarray, "n h w"],
    fpr_limit: float = 0.3,
) -> float | None:
    """Return the area under the per-region-overlap curve, up to `fpr_limit`, as a share of it.

    A region is a connected patch of a mask (8 neighbours); overlap is the share of its pixels at
    or above the threshold, averaged over the regions of all images; the false-positive rate is
    over all unmarked pixels. Every distinct value is a threshold and straight lines join the
    points, so the area is exact (the published evaluator steps through 100 thresholds).

    Memory: a sorted copy of the unmarked pixels within the limit.
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], got {fpr_limit}")
    if not has_both(masks, maps):
        return None
    normals = maps[~masks]
    count = len(normals)
    within = min(int(fpr_limit * count) + 1, count)
    # Below the within-th highest normal pixel the rate exceeds the limit: nothing there counts.
    cutoff = np.partition(normals, count - within)[count - within]
    normals = np.sort(normals[normals >= cutoff])
    within = len(normals)
    area = 0.0
    regions = 0
    for mask, values in zip(masks, maps, strict=True):
        labels, count_here = label_regions(mask)
        regions += count_here
        marked = mask & (values >= cutoff)
        sizes = np.bincount(labels.ravel())
        above = (within - np.searchsorted(normals, values[marked], side="right")) / count
        reached = (within - np.searchsorted(normals, values[marked], side="left")) / count
        area += float(np.sum(covered_area(above, reached, fpr_limit) / sizes[labels[marked]]))
    return area / regions / fpr_limit


def covered_area(
    above: Float[np.ndarray, " m"], reached: Float[np.ndarray, " m"], limit: float
) -> Float[np.ndarray, " m"]:
    """Return each marked pixel's share of the area, integrated over the rate from 0 to `limit`.

    A pixel counts fully from the rate `reached`, and not below `above`, the rate of normal pixels
    higher than it. In between, where normal pixels tie with it, it counts in proportion.
    """
    past = np.maximum(reached - limit, 0)
    # The ramp's triangle up to the limit, plus the full height after the ramp.
    ramp = np.maximum(reached - above, np.finfo(np.float64).tiny)
    within = np.where(past > 0, (limit - above) ** 2 / (2 * ramp), limit - (above + reached) / 2)
    return np.where(above < limit, within, 0.0)
