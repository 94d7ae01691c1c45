"""Resizing and blurring an anomaly map in one step: one matrix for rows, one for columns."""

import numpy as np
from jaxtyping import Float32, Float64

TRUNCATE = 4.0
"""Radius of the Gaussian, in sigma."""
_ROWS = 16
"""Rows multiplied at once. A pixel depends on few places, so that rows nearby need few columns.
OpenBLAS computes so small products in one thread, and starts none that would go on spinning."""


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
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(matrix, ((radius, radius), (0, 0)), mode="symmetric")
    blurred = np.zeros_like(matrix)
    for shift, weight in enumerate(kernel / kernel.sum()):
        blurred += weight * padded[shift : shift + outputs]
    return blurred


class Bands:
    """A matrix that is multiplied without most of its zeros, a few rows at a time."""

    def __init__(self, matrix: Float32[np.ndarray, "outputs inputs"]) -> None:
        self.matrix = matrix
        self._blocks: list[tuple[slice, np.ndarray, np.ndarray]] = []
        for start in range(0, len(matrix), _ROWS):
            rows = slice(start, start + _ROWS)
            used = np.flatnonzero(matrix[rows].any(axis=0))
            self._blocks.append((rows, used, np.ascontiguousarray(matrix[rows][:, used])))

    def __matmul__(self, values: Float32[np.ndarray, "inputs w"]) -> Float32[np.ndarray, "_ w"]:
        """Return the product, computed in this thread: see `_ROWS`."""
        product = np.empty((len(self.matrix), values.shape[1]), np.float32)
        for rows, used, block in self._blocks:
            np.matmul(block, values[used], out=product[rows])
        return product


class Stretch:
    """Resizes and blurs distances on a grid to a map of `size`, by `resize_and_blur`."""

    def __init__(self, grid: tuple[int, int], size: tuple[int, int], sigma: float) -> None:
        down, across = (resize_and_blur(n, m, sigma) for n, m in zip(grid, size, strict=True))
        self.rows: Float32[np.ndarray, "H h"] = down.astype(np.float32)
        self.columns: Float32[np.ndarray, "w W"] = across.T.astype(np.float32, order="C")
        self._down = Bands(self.rows)

    def __call__(self, distances: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "H W"]:
        """Return the map of one image."""
        stretched: np.ndarray = self._down @ np.einsum("kl,lw->kw", distances, self.columns)
        return stretched
