"""Charts of scores: curves, histograms, scatters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from model.report.drawing import (
    DEFECTIVE,
    GOOD,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    curve,
    dot,
    extent,
    frame,
    legend,
    mark,
    round_up,
    svg,
)

BINS = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart."""

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike


def line_chart(
    title: str,
    lines: Sequence[Line],
    labels: tuple[str, str],
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
    point: tuple[float, float, str] | None = None,
) -> Markup:
    """Draw curves on common axes, by default over their range; `point` (x, y, label) is marked."""
    axes = Axes(x or extent([line.x for line in lines]), y or extent([line.y for line in lines]))
    parts = frame(axes, labels)
    for number, line in enumerate(lines):
        parts.append(curve(axes, line.x, line.y, number))
    if len(lines) > 1:
        widest = max(len(line.label) for line in lines)
        place = (WIDTH - RIGHT - 44 - 5.6 * widest, TOP + 14.0)
        parts += legend([line.label for line in lines], place)
    if point is not None:
        parts += dot(axes, *point)
    return svg(title, parts)


def histogram(
    title: str,
    good: npt.NDArray[np.float64],
    defective: npt.NDArray[np.float64],
    threshold: float,
    review: float | None = None,
    axis: tuple[float, float] | None = (0.0, 1.0),
) -> Markup:
    """Draw the distributions of scores of good and defective images.

    `axis` is the range of scores; None means that of the scores and thresholds.
    """
    values = [*good, *defective, threshold, *([] if review is None else [review])]
    low, high = axis or extent([values])
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(scores, edges)[0] / max(len(scores), 1) for scores in (good, defective)]
    axes = Axes((low, high), (0.0, round_up(max(float(np.max(share)) for share in shares))))
    parts = frame(axes, ("Score" if axis else "Raw score", "Share of images"))
    # Good parts are filled, defective ones outlined, so that they differ without colour.
    for share, colour, opacity in zip(shares, (GOOD, DEFECTIVE), (0.5, 0.12), strict=True):
        xs = np.repeat(edges, 2).tolist()
        ys = [0.0, *np.repeat(share, 2).tolist(), 0.0]
        parts.append(
            f'<path d="{axes.path(xs, ys)}Z" fill="{colour}" fill-opacity="{opacity}" '
            f'stroke="{colour}" stroke-width="{0.8 if colour == GOOD else 1.8}"/>'
        )
    marks = [(threshold, "NG above"), *([(review, "review above")] if review is not None else [])]
    for level, (place, label) in enumerate(marks):
        parts += mark(axes, place, label, level)
    # Right of the threshold and at the top, because bars are low there, except for the last bin.
    across, top = axes.place(min(threshold, (low + 2 * high) / 3), axes.y[1])
    parts += _swatches((across + 8, top + 14 + 13 * len(marks)))
    return svg(title, parts)


def _swatches(place: tuple[float, float]) -> list[str]:
    """Draw the histogram's legend: a filled and an outlined box."""
    parts = []
    kinds = (("good", GOOD, 0.5, 0.8), ("defective", DEFECTIVE, 0.12, 1.8))
    for row, (label, colour, opacity, width) in enumerate(kinds):
        y = place[1] + 14 * row
        parts.append(
            f'<rect x="{place[0]:.1f}" y="{y - 5:.1f}" width="22" height="9" fill="{colour}" '
            f'fill-opacity="{opacity}" stroke="{colour}" stroke-width="{width}"/>'
            f'<text x="{place[0] + 30:.1f}" y="{y + 4:.1f}" class="halo">{label}</text>'
        )
    return parts


def scatter(
    title: str, points: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str]
) -> Markup:
    """Draw points by kind, on scores from 0 to 1: circles for the first kind, then crosses."""
    axes = Axes((0.0, 1.0), (0.0, 1.0))
    parts = frame(axes, labels)
    for ends in (((0, 0), (1, 1)), ((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))):
        path = axes.path(*zip(*ends, strict=True))
        parts.append(f'<path d="{path}" stroke="#888" stroke-dasharray="4 3" fill="none"/>')
    for number, coordinates in enumerate(points.values()):
        parts += [_shape(number, *axes.place(x, y)) for x, y in coordinates]
    across, up = axes.place(0.03, 0.97)
    for number, label in enumerate(points):
        y = up + 14 * number
        parts.append(_shape(number, across + 6, y))
        parts.append(
            f'<text x="{across + 16:.1f}" y="{y + 4:.1f}" class="halo">{escape(label)}</text>'
        )
    return svg(title, parts)


def _shape(number: int, across: float, up: float) -> str:
    if number == 0:
        return f'<circle cx="{across:.1f}" cy="{up:.1f}" r="2.3" fill="none" stroke="{GOOD}"/>'
    return (
        f'<path d="M{across - 2:.1f} {up - 2:.1f}l4 4m0 -4l-4 4" stroke="{DEFECTIVE}" fill="none"/>'
    )
