"""The five scan orders as permutation tables.

    H, W   height and width of the map
    L      H * W, the length of every sequence
    K      number of directions

An order is a permutation of the row-major positions of an (H, W) map: step t of the sequence
visits position `order[t]`. Source: MambaAD section 3.2 (hybrid scanning) and the published
`SCANS` and `SS2D` modules, whose rotations, transposes and flips all become rows of one table.
"""

from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from model.errors import ScanError

Order: TypeAlias = Int[np.ndarray, " L"]
_Vector: TypeAlias = Int[np.ndarray, "2"]  # rows, columns

DIRECTIONS = (2, 4, 8)


def sweep(height: int, width: int) -> Order:
    """Row by row, each from the left."""
    return np.arange(height * width)


def serpentine(height: int, width: int) -> Order:
    """Row by row, turning at each end."""
    rows = np.arange(height * width).reshape(height, width).copy()
    rows[1::2] = rows[1::2, ::-1]
    return rows.reshape(-1)


def zigzag(height: int, width: int) -> Order:
    """Along the anti-diagonals, up the even ones and down the odd ones, as in JPEG."""
    row, column = np.divmod(np.arange(height * width), width)
    diagonal = row + column
    along = np.where(diagonal % 2 == 0, column, row)
    return np.lexsort((along, diagonal))


def zorder(height: int, width: int) -> Order:
    """Morton order: the bits of row and column interleaved, the column's lowest first."""
    side = _power_of_two_side("zorder", height, width)
    row, column = np.divmod(np.arange(side * side), side)
    code = np.zeros(side * side, dtype=np.int64)
    for bit in range(side.bit_length() - 1):
        code |= ((column >> bit) & 1) << (2 * bit)
        code |= ((row >> bit) & 1) << (2 * bit + 1)
    return np.argsort(code)


def hilbert(height: int, width: int) -> Order:
    """Hilbert's curve; of a rectangle or another side than a power of two, the generalised one."""
    if _has_power_of_two_side(height, width):
        return _hilbert_of_square(height)
    down, right = np.array([height, 0]), np.array([0, width])
    start = np.zeros(2, dtype=np.int64)
    across, along = (right, down) if height > width else (down, right)
    rows, columns = _generalised_hilbert(start, along, across).T
    order: Order = rows * width + columns
    return order


def _hilbert_of_square(side: int) -> Order:
    """Four copies of the next smaller curve, recursively.

    The first copy is transposed, the last mirrored at the other diagonal, so that each copy
    ends beside the start of the next.
    """
    curve = np.zeros((1, 2), dtype=np.int64)  # (L, 2): row, column
    for level in range(side.bit_length() - 1):
        half = 1 << level
        transposed = curve[:, ::-1]
        quarters = (
            transposed,
            curve + np.array([half, 0]),
            curve + half,
            half - 1 - transposed + np.array([0, half]),
        )
        curve = np.concatenate(quarters)
    order: Order = curve[:, 0] * side + curve[:, 1]
    return order


def _generalised_hilbert(start: _Vector, along: _Vector, across: _Vector) -> Int[np.ndarray, "L 2"]:
    """Return rows and columns of a curve through the rectangle that two vectors span at a corner.

    It ends at the corner in the direction of `along`. Each step goes to a neighbour, but one step
    is diagonal if one side is odd and the other even. Source: J. Cerveny's "gilbert".
    """
    length, breadth = int(np.abs(along).sum()), int(np.abs(across).sum())
    if breadth == 1 or length == 1:
        way = along if breadth == 1 else across
        points: Int[np.ndarray, "L 2"] = start + np.outer(np.arange(length * breadth), np.sign(way))
        return points
    if 2 * length > 3 * breadth:  # a long rectangle: two, one after the other
        first = _even_half(along)
        return np.concatenate(
            (
                _generalised_hilbert(start, first, across),
                _generalised_hilbert(start + first, along - first, across),
            )
        )
    half, side = np.sign(along) * (length // 2), _even_half(across)
    back = start + along - np.sign(along) + side - np.sign(across)
    return np.concatenate(  # a step aside, the whole length, and back
        (
            _generalised_hilbert(start, side, half),
            _generalised_hilbert(start + side, along, across - side),
            _generalised_hilbert(back, -side, half - along),
        )
    )


def _even_half(vector: _Vector) -> _Vector:
    """Return about half a vector, of an even length if there is one: then no step is diagonal."""
    length = int(np.abs(vector).sum())
    half = length // 2
    direction: _Vector = np.sign(vector)
    return direction * (half + (half % 2 if length > 2 else 0))


def _power_of_two_side(scan: str, height: int, width: int) -> int:
    if not _has_power_of_two_side(height, width):
        raise ScanError(
            f"the {scan} order exists for square maps with a power-of-two side, got "
            f"{height}x{width}; hilbert, sweep, scan and zigzag exist for every size"
        )
    return height


def _has_power_of_two_side(height: int, width: int) -> bool:
    return height == width and not height & (height - 1)


SCANS: MappingProxyType[str, Callable[[int, int], Order]] = MappingProxyType(
    {
        "sweep": sweep,
        "scan": serpentine,
        "zorder": zorder,
        "zigzag": zigzag,
        "hilbert": hilbert,
    }
)
"""The orders by their published names."""


def check_order(scan: str, directions: int, height: int, width: int) -> None:
    """Raise `ScanError`, with the reason, for an impossible order table."""
    if scan not in SCANS:
        raise ScanError(f"unknown scan {scan!r}; have: {', '.join(SCANS)}")
    if directions not in DIRECTIONS:
        raise ScanError(f"directions must be one of {DIRECTIONS}, got {directions}")
    if height < 1 or width < 1:
        raise ScanError(f"a map has at least one row and one column, got {height}x{width}")
    if scan == "zorder":
        _power_of_two_side(scan, height, width)


@lru_cache(maxsize=64)
def order_table(scan: str, directions: int, height: int, width: int) -> Int[np.ndarray, "K L"]:
    """Return the read-only int32 table of the position that each direction visits at each step.

    The first K / 2 rows scan the map, its transpose, its quarter turn and the transpose of that;
    the other K / 2 are their reversals. Raises `ScanError`.
    """
    check_order(scan, directions, height, width)
    grid = np.arange(height * width).reshape(height, width)
    quarter_turn = np.rot90(grid)
    views = (grid, grid.T, quarter_turn, quarter_turn.T)[: directions // 2]
    forward = np.stack([view.reshape(-1)[SCANS[scan](*view.shape)] for view in views])
    table = np.concatenate([forward, forward[:, ::-1]]).astype(np.int32)
    table.setflags(write=False)
    return table
