"""The results as one table, for the terminal and in Markdown."""

from collections.abc import Iterator, Sequence

from benchmarks.quality.differences import METRICS, Difference, Figures, Standing, average
from benchmarks.quality.measuring import ALPHA, METHODS, NETWORK
from benchmarks.quality.sets import Role
from model.tables import NamedRows

HEADINGS = ("AUROC", "AUPRO", "Escapes", "False\nrejects", "Training\ns", "Image\nms")
_TITLE = (
    f"In percent, at thresholds for {100 * ALPHA:.0f} % false rejects. Ahead: {NETWORK} minus the "
    "better of the others, in points, with its 95 % interval"
)


def terminal(standings: Sequence[Standing]) -> NamedRows:
    """Return the table for the terminal: a row for each method, below its set."""
    table = NamedRows(_TITLE, "Set, method", list(HEADINGS))
    for role, chosen in _by_role(standings):
        for number, standing in enumerate(chosen):
            table.add(standing.set_name, style="underline", section=number > 0)
            for method in METHODS:
                table.add(method, _figures(standing.figures[method]))
            _add_ahead(table, [standing.differences.get(metric) for metric in METRICS])
        table.add(f"mean of {role} sets", style="underline", section=True)
        _add_ahead(table, [average(chosen, metric) for metric in METRICS])
    return table


def markdown(standings: Sequence[Standing]) -> str:
    """Return the table in Markdown: a row for each set, below the legend."""
    headings = ["Set (seeds)", *HEADINGS[:1], "Ahead", *HEADINGS[1:2], "Ahead", *HEADINGS[2:]]
    lines = [
        f"{' / '.join(METHODS)}. {_TITLE}.",
        "",
        "| " + " | ".join(headings).replace("\n", " ") + " |",
        "|---|" + "---:|" * (len(headings) - 1),
    ]
    for role, chosen in _by_role(standings):
        for standing in chosen:
            columns = zip(*(_figures(standing.figures[m]) for m in METHODS), strict=True)
            cells = [" / ".join(column) for column in columns]
            lines.append(_row(f"{standing.set_name} ({standing.seeds})", cells, standing))
        means = [_ahead(average(chosen, metric)) for metric in METRICS]
        empty = [""] * (len(HEADINGS) - 2)
        lines.append(
            "| " + " | ".join([f"mean, {role}", "", means[0], "", means[1], *empty]) + " |"
        )
    return "\n".join(lines) + "\n"


def _by_role(standings: Sequence[Standing]) -> Iterator[tuple[Role, list[Standing]]]:
    """Yield the sets of each role that has any; final ones last."""
    for role in Role:
        chosen = [standing for standing in standings if standing.role == role]
        if chosen:
            yield role, chosen


def _row(name: str, cells: Sequence[str], standing: Standing) -> str:
    ahead = [_ahead(standing.differences.get(metric)) for metric in METRICS]
    return "| " + " | ".join([name, cells[0], ahead[0], cells[1], ahead[1], *cells[2:]]) + " |"


def _figures(figures: Figures) -> list[str]:
    shares = (figures.image_auroc, figures.aupro, figures.escape_rate, figures.false_reject_rate)
    percents = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
    return [*percents, f"{figures.train_s:.0f}", f"{figures.inspect_ms:.0f}"]


def _add_ahead(table: NamedRows, differences: Sequence[Difference | None]) -> None:
    empty = [""] * (len(HEADINGS) - 2)
    behind = any(d is not None and d.interval[1] < 0 for d in differences)
    lows = [None if d is None else d.interval[0] for d in differences]
    highs = [None if d is None else d.interval[1] for d in differences]
    middles = [None if d is None else d.difference for d in differences]
    for name, values in (("ahead", middles), ("  from", lows), ("  to", highs)):
        table.add(name, [*map(_points, values), *empty], "bold red" if behind else "bold")


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"


def _ahead(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    low, high = map(_points, difference.interval)
    return f"{_points(difference.difference)} ({low} to {high})"
