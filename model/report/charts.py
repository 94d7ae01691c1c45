"""Charts as SVG: sharp in print, with selectable text for screen readers, without a library.

Colours also differ in lightness and lines in dashes, so that charts are readable without colour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

GOOD, DEFECTIVE, NEUTRAL = "#1f6f8b", "#b5441a", "#4a4a4a"
COLOURS = (GOOD, DEFECTIVE, "#5b4a8a", "#2d7a3a", "#8a6d00", "#7a2d5c")
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "12 4")
WIDTH, HEIGHT = 380, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 42
BINS = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart."""

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike


@dataclass(frozen=True, slots=True)
class _Axes:
    """Maps values to coordinates of the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's coordinates in the picture."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return _LEFT + across * inner_width, HEIGHT - _BOTTOM - up * inner_height

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Return an SVG path of straight lines through the points."""
        points = (self.place(x, y) for x, y in zip(xs, ys, strict=True))
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def line_chart(
    title: str,
    lines: Sequence[Line],
    labels: tuple[str, str],
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
    point: tuple[float, float, str] | None = None,
) -> Markup:
    """Draw curves on common axes, by default over their range; `point` (x, y, label) is marked."""
    axes = _Axes(x or _extent([line.x for line in lines]), y or _extent([line.y for line in lines]))
    parts = _frame(axes, labels)
    for number, line in enumerate(lines):
        path = axes.path(*_thinned(line.x, line.y))
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-dasharray="{dash}"/>'
        )
    if len(lines) > 1:
        widest = max(len(line.label) for line in lines)
        place = (WIDTH - _RIGHT - 44 - 5.6 * widest, _TOP + 14.0)
        parts += _legend([line.label for line in lines], place)
    if point is not None:
        parts += _dot(axes, *point)
    return _svg(title, parts)


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
    low, high = axis or _extent([values])
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(scores, edges)[0] / max(len(scores), 1) for scores in (good, defective)]
    axes = _Axes((low, high), (0.0, _round_up(max(float(np.max(share)) for share in shares))))
    parts = _frame(axes, ("Score" if axis else "Raw score", "Share of images"))
    for share, colour, opacity in zip(shares, (GOOD, DEFECTIVE), (0.55, 0.4), strict=True):
        xs = np.repeat(edges, 2).tolist()
        ys = [0.0, *np.repeat(share, 2).tolist(), 0.0]
        parts.append(
            f'<path d="{axes.path(xs, ys)}Z" fill="{colour}" fill-opacity="{opacity}" '
            f'stroke="{colour}" stroke-width="1.2"/>'
        )
    marks = [(threshold, "NG above"), *([(review, "review above")] if review is not None else [])]
    for level, (place, label) in enumerate(marks):
        parts += _mark(axes, place, label, level)
    # Right of the threshold and at the top, because bars are low there, except for the last bin.
    across, top = axes.place(min(threshold, (low + 2 * high) / 3), axes.y[1])
    parts += _legend(["good", "defective"], (across + 8, top + 14 + 13 * len(marks)), 6)
    return _svg(title, parts)


def scatter(
    title: str, points: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str]
) -> Markup:
    """Draw points by kind, on scores from 0 to 1: circles for the first kind, then crosses."""
    axes = _Axes((0.0, 1.0), (0.0, 1.0))
    parts = _frame(axes, labels)
    for ends in (((0, 0), (1, 1)), ((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))):
        path = axes.path(*zip(*ends, strict=True))
        parts.append(f'<path d="{path}" stroke="#888" stroke-dasharray="4 3" fill="none"/>')
    for number, coordinates in enumerate(points.values()):
        for x, y in coordinates:
            across, up = axes.place(x, y)
            parts.append(
                f'<circle cx="{across:.1f}" cy="{up:.1f}" r="2.3" fill="none" stroke="{GOOD}"/>'
                if number == 0
                else f'<path d="M{across - 2:.1f} {up - 2:.1f}l4 4m0 -4l-4 4" '
                f'stroke="{DEFECTIVE}" fill="none"/>'
            )
    across, up = axes.place(0.03, 0.97)
    return _svg(title, parts + _legend(list(points), (across, up), 6))


def _mark(axes: _Axes, x: float, label: str, level: int) -> list[str]:
    across, bottom = axes.place(x, axes.y[0])
    top = axes.place(x, axes.y[1])[1]
    return [
        f'<path d="M{across:.1f} {bottom:.1f}V{top:.1f}" stroke="#111" stroke-width="1.4" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{across + 4:.1f}" y="{top + 11 + 13 * level:.1f}">{escape(label)}</text>',
    ]


def _frame(axes: _Axes, labels: tuple[str, str]) -> list[str]:
    left, bottom = axes.place(axes.x[0], axes.y[0])
    right, top = axes.place(axes.x[1], axes.y[1])
    parts = []
    for tick in _ticks(*axes.x):
        x, _ = axes.place(tick, axes.y[0])
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}V{top:.1f}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15:.1f}" class="mid">{_number(tick)}</text>')
    for tick in _ticks(*axes.y):
        _, y = axes.place(axes.x[0], tick)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 5:.1f}" y="{y + 4:.1f}" class="end">{_number(tick)}</text>')
    middle = (left + right) / 2
    parts.append(f'<path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" class="axis"/>')
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 6}" class="mid">{escape(labels[0])}</text>')
    parts.append(
        f'<text transform="translate(11 {(top + bottom) / 2:.1f}) rotate(-90)" class="mid">'
        f"{escape(labels[1])}</text>"
    )
    return parts


def _dot(axes: _Axes, x: float, y: float, label: str) -> list[str]:
    across, up = axes.place(x, y)
    side, anchor = (8, "start") if x < (axes.x[0] + axes.x[1]) / 2 else (-8, "end")
    return [
        f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4.5" fill="{DEFECTIVE}" stroke="#fff"/>',
        f'<text x="{across + side:.1f}" y="{up + 16:.1f}" text-anchor="{anchor}" class="halo">'
        f"{escape(label)}</text>",
    ]


def _legend(
    labels: Sequence[str], place: tuple[float, float], thick: float | None = None
) -> list[str]:
    """Draw a legend of colours, and of dashes for thin lines."""
    parts = []
    left, top = place
    for number, label in enumerate(labels):
        y = top + 14 * number
        dash = DASHES[number % len(DASHES)] if thick is None else ""
        parts.append(
            f'<path d="M{left:.1f} {y:.1f}h24" stroke="{COLOURS[number % len(COLOURS)]}" '
            f'stroke-width="{thick or 1.8}" stroke-dasharray="{dash}"/>'
            f'<text x="{left + 30:.1f}" y="{y + 4:.1f}" class="halo">{escape(label)}</text>'
        )
    return parts


def _svg(title: str, parts: Sequence[str]) -> Markup:
    content = "".join(parts)
    return Markup(  # all texts in it are escaped
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def _thinned(xs: npt.ArrayLike, ys: npt.ArrayLike) -> tuple[list[float], list[float]]:
    """Reduce a curve to about 400 points, so that the page stays small."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if len(x) <= 400:
        return x.tolist(), y.tolist()
    travelled = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
    steps = np.floor(travelled / (travelled[-1] or 1) * 400)
    chosen = np.append(np.flatnonzero(np.diff(steps, prepend=-1)), len(x) - 1)
    return x[chosen].tolist(), y[chosen].tolist()


def _extent(columns: Sequence[npt.ArrayLike]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(column, dtype=np.float64) for column in columns])
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between the ends."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _round_up(value: float) -> float:
    ticks = _ticks(0.0, max(value, 0.05))
    step = ticks[1] - ticks[0]
    return step * math.ceil(value / step - 1e-9) if value > 0 else step


def _number(value: float) -> str:
    return f"{value:g}"
