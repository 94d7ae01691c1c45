"""Resizing and blurring an anomaly map in one step: one matrix for rows, one for columns."""

import numpy as np
import scipy
from jaxtyping import Float64

TRUNCATE = 4.0
"""Radius of the Gaussian, in sigma."""


def resize_and_blur(
    inputs: int, outputs: int, sigma: float
) -> Float64[np.ndarray, "outputs inputs"]:
    """Return the matrix that resizes with aligned corners, then blurs, reflected at the edges.

    `down @ map @ across.T` does both for a map.
    """
    at = np.arange(outputs) * ((inputs - 1) / max(outputs - 1, 1))
    below = np.clip(np.floor(at).astype(int), 0, max(inputs - 2, 0))
    matrix = np.zeros((outputs, inputs))
    matrix[np.arange(outputs), below] += 1 - (at - below)
    matrix[np.arange(outputs), np.minimum(below + 1, inputs - 1)] += at - below
    if sigma == 0:
        return matrix
    blurred: np.ndarray = scipy.ndimage.gaussian_filter1d(
        matrix, sigma, axis=0, mode="reflect", truncate=TRUNCATE
    )
    return blurred
