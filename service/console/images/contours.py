"""Lines around the anomalous areas of a map, as an SVG path.

They leave the area itself visible, which a coloured wash hides.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float32
from PIL import Image

_LEVEL = 0.5  # the pixel threshold
_MAX_SIDE = 160
_LINES_PER_SIDE = 250
_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
# Which sides of a cell a line connects, by which corners are above the level: 8 is the upper left
# one, 4 the upper right, 2 the lower right, 1 the lower left.
_LINES: Mapping[int, tuple[tuple[int, int], ...]] = {
    1: ((_LEFT, _BOTTOM),), 2: ((_BOTTOM, _RIGHT),), 3: ((_LEFT, _RIGHT),), 4: ((_TOP, _RIGHT),),
    5: ((_TOP, _RIGHT), (_LEFT, _BOTTOM)), 6: ((_TOP, _BOTTOM),), 7: ((_LEFT, _TOP),),
    8: ((_LEFT, _TOP),), 9: ((_TOP, _BOTTOM),), 10: ((_LEFT, _TOP), (_BOTTOM, _RIGHT)),
    11: ((_TOP, _RIGHT),), 12: ((_LEFT, _RIGHT),), 13: ((_BOTTOM, _RIGHT),),
    14: ((_LEFT, _BOTTOM),),
}  # fmt: skip

_Crossing = tuple[int, int, bool]
"""A side between two values: row and column of the first one, and whether it is upright."""


def contours(scores: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> str:
    """Return the path around all areas above the pixel threshold, in pixels of `size`.

    `size` is (width, height) of the image that the map covers. Empty without such an area.
    """
    values = np.pad(_reduced(scores), 1)  # so that every line closes
    neighbours = _neighbours(values > _LEVEL)
    height, width = (side - 2 for side in values.shape)
    scale = (size[0] / width, size[1] / height)
    return "".join(
        "M" + "L".join(_placed(values, crossing, size, scale) for crossing in loop) + "Z"
        for loop in _loops(neighbours)
    )


def outline_svg(path: str, size: tuple[int, int]) -> str:
    """Return a drawing of contours; `size` is the image's (width, height)."""
    line = max(size) / _LINES_PER_SIDE
    style = 'fill="none" stroke-linejoin="round"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'preserveAspectRatio="none"><path {style} stroke="#000" stroke-opacity=".75" '
        f'stroke-width="{2 * line:.2f}" d="{path}"/><path {style} stroke="#ffd21f" '
        f'stroke-width="{line:.2f}" d="{path}"/></svg>'
    )


def _reduced(scores: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    height, width = scores.shape
    factor = max(height, width) / _MAX_SIDE
    if factor <= 1:
        return scores
    smaller = (max(1, round(width / factor)), max(1, round(height / factor)))
    resized = Image.fromarray(scores.astype(np.float32)).resize(smaller, Image.Resampling.BOX)
    return np.asarray(resized)


def _neighbours(above: np.ndarray) -> dict[_Crossing, list[_Crossing]]:
    """Return the crossings that lines connect; each has two neighbours."""
    corners = (above[:-1, :-1], above[:-1, 1:], above[1:, 1:], above[1:, :-1])
    kinds = np.zeros(corners[0].shape, int)
    for corner in corners:
        kinds = 2 * kinds + corner
    neighbours: dict[_Crossing, list[_Crossing]] = {}
    for row, column in np.argwhere((kinds > 0) & (kinds < 15)).tolist():
        sides = (
            (row, column, False), (row, column + 1, True), (row + 1, column, False),
            (row, column, True),
        )  # fmt: skip
        for first, second in _LINES[int(kinds[row, column])]:
            neighbours.setdefault(sides[first], []).append(sides[second])
            neighbours.setdefault(sides[second], []).append(sides[first])
    return neighbours


def _loops(neighbours: dict[_Crossing, list[_Crossing]]) -> Iterator[list[_Crossing]]:
    while neighbours:
        crossing = next(iter(neighbours))
        loop = []
        while crossing in neighbours:
            loop.append(crossing)
            following = neighbours.pop(crossing)
            crossing = next((one for one in following if one in neighbours), crossing)
        yield loop


def _placed(
    values: np.ndarray, crossing: _Crossing, size: tuple[int, int], scale: tuple[float, float]
) -> str:
    """Return where the level crosses a side, interpolated, in pixels of the image."""
    row, column, is_upright = crossing
    first = float(values[row, column])
    second = float(values[row + is_upright, column + (not is_upright)])
    along = (_LEVEL - first) / (second - first)
    # The padding shifted the values by one; a value stands for the middle of its pixel.
    x = (column - 0.5 + (0 if is_upright else along)) * scale[0]
    y = (row - 0.5 + (along if is_upright else 0)) * scale[1]
    return f"{min(max(x, 0), size[0]):.1f} {min(max(y, 0), size[1]):.1f}"
