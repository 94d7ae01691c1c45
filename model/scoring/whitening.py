"""Partial whitening of patches: between plain distances and Mahalanobis distances.

Plain distances are those of the few directions that vary most, in which defects need not show.
Mahalanobis distances weigh all directions alike, and so the noise in those that hardly vary. The
square root lies between. With it, AUPRO of the memory alone was 1.2 to 7.3 points above that of
plain distances on three development sets of `benchmarks/quality` and 0.6 below on one; image AUROC
was within 3 points, and higher on three of the four.

n  patches      C  channels
"""

import numpy as np
from jaxtyping import Float32

POWER = 0.25
"""Each principal direction is divided by its variance to this power: 0 is plain, 0.5 whitens."""
_FLOOR = 1e-4
"""Added to every variance, as a share of the mean one, for directions that never vary."""


def partial_whitening(patches: Float32[np.ndarray, "n C"]) -> Float32[np.ndarray, "C C"]:
    """Return the matrix that multiplies a patch's channels; the mean variance stays as it is."""
    exact = patches.astype(np.float64)
    exact -= exact.mean(axis=0)
    variances, directions = np.linalg.eigh(exact.T @ exact / len(exact))
    mean = variances.mean()
    if not mean > 0:
        return np.eye(patches.shape[1], dtype=np.float32)
    shares = np.maximum(variances, 0) / mean + _FLOOR
    whitening: np.ndarray = (directions * shares**-POWER).T
    return np.ascontiguousarray(whitening, np.float32)
