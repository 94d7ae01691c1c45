"""Axes, marks and legends of charts, as SVG: sharp in print, without a library.

A plotting library would bring tens of megabytes for six kinds of charts, and its SVG has text as
outlines that no screen reader reads. Series differ in lightness, dashes and shapes as well as in
colour, so that charts are readable when printed in black and white.
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
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 42


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps values to coordinates of the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's coordinates in the picture."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * inner_width, HEIGHT - BOTTOM - up * inner_height

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Return an SVG path of straight lines through the points."""
        points = (self.place(x, y) for x, y in zip(xs, ys, strict=True))
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def mark(axes: Axes, x: float, label: str, level: int) -> list[str]:
    """Draw a vertical line with its label beside it, `level` lines below the top."""
    across, bottom = axes.place(x, axes.y[0])
    top = axes.place(x, axes.y[1])[1]
    is_left = x < axes.x[0] + 0.7 * (axes.x[1] - axes.x[0])
    side, anchor = (4, "start") if is_left else (-4, "end")
    return [
        f'<path d="M{across:.1f} {bottom:.1f}V{top:.1f}" stroke="#111" stroke-width="1.4" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{across + side:.1f}" y="{top + 11 + 13 * level:.1f}" text-anchor="{anchor}" '
        f'class="halo">{escape(label)}</text>',
    ]


def band(
    axes: Axes, x: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, colour: str
) -> list[str]:
    """Fill the area between two curves, with a fine edge that prints."""
    lower, upper = thinned(x, low), thinned(x, high)
    path = axes.path([*lower[0], *upper[0][::-1]], [*lower[1], *upper[1][::-1]])
    return [
        f'<path d="{path}Z" fill="{colour}" fill-opacity="0.16" stroke="{colour}" '
        'stroke-opacity="0.5" stroke-width="0.6"/>'
    ]


def curve(axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, number: int = 0) -> str:
    """Draw a line in the colour and dashes of its number."""
    path = axes.path(*thinned(x, y))
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" '
        f'stroke-dasharray="{dash}"/>'
    )


def whiskers(
    axes: Axes, x: float, y: float, across: tuple[float, float] | None, up: tuple[float, float]
) -> str:
    """Draw a point's intervals as bars with ends: `up` along y, `across` along x."""
    middle, _ = axes.place(x, y)
    ends = [axes.place(x, end)[1] for end in up]
    path = f"M{middle:.1f} {ends[0]:.1f}V{ends[1]:.1f}"
    path += "".join(f"M{middle - 4:.1f} {end:.1f}h8" for end in ends)
    if across is not None:
        level = axes.place(x, y)[1]
        sides = [axes.place(end, y)[0] for end in across]
        path += f"M{sides[0]:.1f} {level:.1f}H{sides[1]:.1f}"
        path += "".join(f"M{side:.1f} {level - 4:.1f}v8" for side in sides)
    return f'<path d="{path}" fill="none" stroke="#111" stroke-width="1.2"/>'


def dot(
    axes: Axes, x: float, y: float, label: str, number: int = 0, *, is_above: bool = False
) -> list[str]:
    """Draw a point, a disc or a diamond by its number, with its label below or above, beside it."""
    across, up = axes.place(x, y)
    side, anchor = (9, "start") if x < (axes.x[0] + axes.x[1]) / 2 else (-9, "end")
    # Below the point, but above it where the axis is near.
    down = 16 if up + 20 < HEIGHT - BOTTOM and not is_above else -11
    if number == 0:
        shape = (
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4.5" fill="{DEFECTIVE}" stroke="#fff"/>'
        )
    else:
        shape = (
            f'<path d="M{across:.1f} {up - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z" fill="#fff" '
            'stroke="#111" stroke-width="1.6"/>'
        )
    return [
        shape,
        f'<text x="{across + side:.1f}" y="{up + down:.1f}" text-anchor="{anchor}" class="halo">'
        f"{escape(label)}</text>",
    ]


def frame(
    axes: Axes,
    labels: tuple[str, str],
    percents: str = "",
    *,
    has_numbers: bool = True,
    rows: Mapping[float, str] | None = None,
) -> list[str]:
    """Draw axes, grid and labels; the axes named in `percents` ("x", "xy") show shares in percent.

    Without `has_numbers`, the x axis has neither ticks nor grid. `rows` are texts along the y axis,
    by their place, instead of numbers.
    """
    left, bottom = axes.place(axes.x[0], axes.y[0])
    right, top = axes.place(axes.x[1], axes.y[1])
    parts = []
    for tick in ticks(*axes.x) if has_numbers else ():
        x, _ = axes.place(tick, axes.y[0])
        text = number(100 * tick if "x" in percents else tick)
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}V{top:.1f}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15:.1f}" class="mid">{text}</text>')
    texts = rows or {t: number(100 * t if "y" in percents else t) for t in ticks(*axes.y)}
    for tick, text in texts.items():
        _, y = axes.place(axes.x[0], tick)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" class="grid"/>')
        style = "end row" if rows else "end"
        place = f'x="{left - 5:.1f}" y="{y + 4:.1f}"'
        parts.append(f'<text {place} class="{style}">{escape(text)}</text>')
    return parts + _axis_lines(labels, (left, bottom), (right, top))


def _axis_lines(
    labels: tuple[str, str], start: tuple[float, float], end: tuple[float, float]
) -> list[str]:
    (left, bottom), (right, top) = start, end
    middle, parts = (left + right) / 2, []
    parts.append(f'<path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" class="axis"/>')
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 6}" class="mid">{escape(labels[0])}</text>')
    parts.append(
        f'<text transform="translate(11 {(top + bottom) / 2:.1f}) rotate(-90)" class="mid">'
        f"{escape(labels[1])}</text>"
    )
    return parts


def legend(
    labels: Sequence[str], place: tuple[float, float], thick: float | None = None
) -> list[str]:
    """Draw a legend of colours, and of dashes for thin lines."""
    parts = []
    left, top = place
    for index, label in enumerate(labels):
        y = top + 14 * index
        dash = DASHES[index % len(DASHES)] if thick is None else ""
        parts.append(
            f'<path d="M{left:.1f} {y:.1f}h24" stroke="{COLOURS[index % len(COLOURS)]}" '
            f'stroke-width="{thick or 1.8}" stroke-dasharray="{dash}"/>'
            f'<text x="{left + 30:.1f}" y="{y + 4:.1f}" class="halo">{escape(label)}</text>'
        )
    return parts


def svg(title: str, parts: Sequence[str]) -> Markup:
    """Return the picture; screen readers read its title."""
    content = "".join(parts)
    return Markup(  # all texts in it are escaped
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def thinned(xs: npt.ArrayLike, ys: npt.ArrayLike) -> tuple[list[float], list[float]]:
    """Reduce a curve to about 400 points, so that the page stays small."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if len(x) <= 400:
        return x.tolist(), y.tolist()
    travelled = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
    steps = np.floor(travelled / (travelled[-1] or 1) * 400)
    chosen = np.append(np.flatnonzero(np.diff(steps, prepend=-1)), len(x) - 1)
    return x[chosen].tolist(), y[chosen].tolist()


def extent(columns: Sequence[npt.ArrayLike]) -> tuple[float, float]:
    """Return the lowest and the highest value, apart from each other."""
    values = np.concatenate([np.asarray(column, dtype=np.float64) for column in columns])
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between the ends."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def round_up(value: float) -> float:
    """Return the next tick at or above a value."""
    lowest, second, *_ = ticks(0.0, max(value, 0.05))
    step = second - lowest
    return step * math.ceil(value / step - 1e-9) if value > 0 else step


def number(value: float) -> str:
    """Return a number for a tick."""
    return f"{value:g}"
