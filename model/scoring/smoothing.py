"""Resizing and blurring an anomaly map in one step: one matrix for rows, one for columns."""

import numpy as np
import scipy
from jaxtyping import Float32, Float64

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


class Stretch:
    """Resizes and blurs distances on a grid to a map of `size`, by `resize_and_blur`."""

    def __init__(self, grid: tuple[int, int], size: tuple[int, int], sigma: float) -> None:
        down, across = (resize_and_blur(n, m, sigma) for n, m in zip(grid, size, strict=True))
        self.rows: Float32[np.ndarray, "H h"] = down.astype(np.float32)
        self.columns: Float32[np.ndarray, "w W"] = across.T.astype(np.float32, order="C")
        self._down = scipy.sparse.csr_array(self.rows)  # sparse: a pixel depends on few places

    def __call__(self, distances: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "H W"]:
        """Return the map of one image. Uses no BLAS: see `Gaussians.distances`."""
        stretched: np.ndarray = self._down @ np.einsum("kl,lw->kw", distances, self.columns)
        return stretched
