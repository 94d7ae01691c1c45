"""Charts of rates: false rejects against escapes, costs, found defects by size and by kind."""

from collections.abc import Sequence
from html import escape

import numpy as np
from markupsafe import Markup

from model.evaluation.counts import SizeBin
from model.evaluation.operation import Operation
from model.metrics import wilson, wilson_band
from model.report.drawing import (
    GOOD,
    HEIGHT,
    Axes,
    band,
    curve,
    dot,
    frame,
    mark,
    round_up,
    svg,
    whiskers,
)
from model.report.stored_check import StoredRate

SHARES = (0.0, 1.0)
_HIGHEST_SCORE = 0.98
"""Costs are drawn up to this quantile of the scores: few defects score far above all others."""


def trade_off_chart(title: str, operation: Operation, review: float | None = None) -> Markup:
    """Draw false rejects against escapes over all thresholds, and those in force with intervals."""
    trade_off = operation.trade_off
    escapes = trade_off.escape_rates
    axes = Axes(SHARES, SHARES)
    parts = frame(axes, ("Escapes, % of defective", "False rejects, % of good"), "xy")
    parts += band(axes, escapes, *wilson_band(trade_off.rejected, trade_off.good), GOOD)
    parts.append(curve(axes, escapes, trade_off.false_reject_rates))
    thresholds = [(operation.threshold, "threshold for NG")]
    if review is not None:
        thresholds.append((review, "threshold for REVIEW"))
    for number, (threshold, label) in enumerate(thresholds):
        place = trade_off.place(threshold)
        x, y = float(escapes[place]), float(trade_off.false_reject_rates[place])
        across = wilson(int(trade_off.passed[place]), trade_off.defective)
        up = wilson(int(trade_off.rejected[place]), trade_off.good)
        parts.append(whiskers(axes, x, y, across, up))
        parts += dot(axes, x, y, label, number, is_above=True)  # the curve goes on below
    return svg(title, parts)


def cost_chart(title: str, operation: Operation) -> Markup:
    """Draw a part's mean cost at each threshold, the lowest one and the threshold in force."""
    scores = operation.trade_off.thresholds[1:]
    low, high = operation.cost_band
    right = max(float(np.quantile(scores, _HIGHEST_SCORE)), operation.threshold)
    left = min(float(scores[0]), operation.threshold)
    margin = 0.05 * (right - left) or 0.5
    axes = Axes((left - margin, right + margin), (0.0, round_up(float(high.max()))))
    parts = frame(axes, ("Threshold, raw score", "Mean cost of a part"))
    shown = np.flatnonzero(scores <= axes.x[1])
    # Steps: the cost changes only at the score of an image. Below the lowest, all parts are NG.
    xs = np.repeat(np.concatenate([[axes.x[0]], scores[shown], [axes.x[1]]]), 2)[1:-1]
    steps = np.repeat(np.concatenate([[0], shown + 1]), 2)
    parts += band(axes, xs, low[steps], high[steps], GOOD)
    parts.append(curve(axes, xs, operation.costs[steps]))
    parts += mark(axes, operation.threshold, "in force", 0)
    place = operation.cheapest
    at = max(float(operation.trade_off.thresholds[place]), axes.x[0])
    if at <= axes.x[1]:
        parts += dot(axes, at, float(operation.costs[place]), "lowest", 1, is_above=True)
    return svg(title, parts)


def size_chart(title: str, sizes: Sequence[SizeBin]) -> Markup:
    """Draw the share of found defects by size with intervals; open marks stand on few images."""
    axes = Axes((0.0, float(len(sizes))), SHARES)
    labels = ("Marked share of the image, %", "Defects found, %")
    parts = frame(axes, labels, "y", has_numbers=False)
    for number, size in enumerate(sizes):
        across, bottom = axes.place(number + 0.5, 0.0)
        text = (
            f'<text x="{across:.1f}" y="{bottom + 14:.1f}" class="mid">{escape(edges(size))}</text>'
        )
        parts.append(text)
        if size.rate is None or size.interval is None:
            continue
        parts.append(whiskers(axes, number + 0.5, size.rate, None, size.interval))
        _, up = axes.place(number + 0.5, size.rate)
        fill = "#fff" if size.is_few else GOOD
        parts.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4.5" fill="{fill}" stroke="{GOOD}" '
            'stroke-width="1.8"/>'
        )
        parts.append(
            f'<text x="{across + 8:.1f}" y="{min(up + 16, HEIGHT - 48):.1f}" class="halo">'
            f"{size.found}/{size.images}</text>"
        )
    return svg(title, parts)


def found_chart(title: str, rows: Sequence[tuple[str, StoredRate]]) -> Markup:
    """Draw shares of found defects with intervals, a row each; open marks stand on few defects."""
    axes = Axes(SHARES, (float(len(rows)), 0.0))
    names = {number + 0.5: name for number, (name, _) in enumerate(rows)}
    parts = frame(axes, ("Found, %", ""), "x", rows=names)
    for number, (_, found) in enumerate(rows):
        across, up = axes.place(found.rate, number + 0.5)
        low, high = (axes.place(end, number + 0.5)[0] for end in found.interval)
        bars = f"M{low:.1f} {up:.1f}H{high:.1f}M{low:.1f} {up - 3:.1f}v6M{high:.1f} {up - 3:.1f}v6"
        parts.append(f'<path d="{bars}" fill="none" stroke="#111" stroke-width="1.2"/>')
        fill = "#fff" if found.is_few else GOOD
        parts.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{fill}" stroke="{GOOD}" '
            'stroke-width="1.8"/>'
        )
    return svg(title, parts)


def edges(size: SizeBin) -> str:
    """Return a bin's edges in percent."""
    if size.low == 0:
        return f"< {100 * size.high:g}"
    if size.high == 1:
        return f"≥ {100 * size.low:g}"
    return f"{100 * size.low:g}–{100 * size.high:g}"  # noqa: RUF001 - a dash, typeset
