"""Prints inspections: a table that fits the terminal, and all that is known of one."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.api.inspections.schemas import InspectionAnswer, InspectionRow, ViewAnswer

_COLOURS = {"OK": "green", "NG": "red", "REVIEW": "yellow", "UNDECIDED": "magenta"}
_MARK_HELD = " (held)"
_FOLDED = {"category", "station", "part"}


def print_table(rows: Sequence[InspectionRow]) -> None:
    """Print inspections; columns without any value are left out."""
    console = Console()
    table = _table(rows, ids_below=False)
    if console.measure(table, options=console.options.update(max_width=10_000)).maximum > (
        console.width
    ):
        table = _table(rows, ids_below=True)
    console.print(table)


def _table(rows: Sequence[InspectionRow], *, ids_below: bool) -> Table:
    """Return a table; for a narrow terminal each id is below its time."""
    times = [_local(row.received_at) for row in rows]
    ids = [str(row.inspection_id) + _MARK_HELD * row.is_held for row in rows]
    columns = {
        "received": [f"{time}\n{id_}" for time, id_ in zip(times, ids, strict=True)]
        if ids_below
        else times,
        "told": [str(row.told) for row in rows],
        "found": [row.found if row.found and row.found != row.told else "" for row in rows],
        "verdict": [row.verdict or "" for row in rows],
        "score": ["" if row.score is None else f"{row.score:.3f}" for row in rows],
        "category": [_printable(row.category) for row in rows],
        "station": [_printable(row.station or "") for row in rows],
        "part": [_printable(row.part_id or "") for row in rows],
        "inspection": [] if ids_below else ids,
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        table.add_column(name, overflow="fold", no_wrap=name not in _FOLDED)
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in cells))
    return table


def print_inspection(row: InspectionAnswer, paths: Sequence[Path | None]) -> None:
    """Print all that is known of an inspection; `paths` are its images' files."""
    console = Console(highlight=False)
    for name, value in _fields(row):
        if value not in (None, ""):
            console.print(
                Text(f"{name:18}", "bold"), Text(_printable(value)), sep="", soft_wrap=True
            )
    for view, path in zip(row.views, paths, strict=True):
        console.print()
        for name, value in _view_fields(view, path):
            if value not in (None, ""):
                console.print(
                    Text(f"{name:18}", "bold"), Text(_printable(value)), sep="", soft_wrap=True
                )
    for verdict in row.verdicts:
        words = [verdict.verdict, verdict.defect_class, verdict.comment]
        _print_judgement(console, "verdict", verdict.at, verdict.author, words)
    for hold in row.holds:
        words = ["held" if hold.is_held else "released", hold.reason]
        _print_judgement(console, "hold", hold.at, hold.author, words)


def _fields(row: InspectionAnswer) -> Iterable[tuple[str, object]]:
    model = row.model and f"{row.model.name}/{row.model.version}"
    yield "inspection", row.inspection_id
    yield "received", _local(row.received_at)
    yield "captured", row.captured_at and _local(row.captured_at)
    yield "node", row.node
    yield "origin", row.origin
    yield "category", row.category
    yield "part", row.part_id
    yield "station", row.station
    yield "job", row.job_id
    yield "told", f"{row.told} (from {row.source})"
    yield "reason", row.told_reason
    yield "fail-safe", row.fail_safe
    yield "found", row.found
    yield "verdict", row.verdict
    yield "score", row.score
    yield "raw score", row.raw_score
    yield "threshold", row.threshold
    yield "review threshold", row.review_threshold
    yield "model", model
    yield "model SHA-256", row.model and row.model.sha256
    yield "calibration", row.model and row.model.calibration_version
    yield "problem", row.problem
    yield "problem detail", row.problem_detail
    yield "repeats", row.repeats if row.repeats > 1 else None
    yield "request id", row.request_id
    yield "caller", row.caller
    yield "held", "yes" if row.is_held else None
    yield "meta", row.meta


def _view_fields(view: ViewAnswer, path: Path | None) -> Iterable[tuple[str, object]]:
    size = f"{view.width} x {view.height}" if view.width else ""
    nbytes = f", {view.image_bytes} bytes" if view.image_bytes else ""
    timings = view.timings_ms or {}
    yield f"image {view.view}", f"{view.filename or ''} {size}{nbytes}".strip() or "without a name"
    yield "  file", path or _medium(view.image.state, view.image.deleted_at)
    yield "  SHA-256", view.image.sha256
    yield "  map", _medium(view.map.state, view.map.deleted_at)
    yield "  found", view.found
    yield "  score", view.score
    yield "  raw score", view.raw_score
    yield "  engine", view.engine
    yield "  problem", view.problem
    yield "  problem detail", view.problem_detail
    yield "  timings", ", ".join(f"{name} {ms:.1f} ms" for name, ms in timings.items())
    for region in view.regions:
        box = f"{region.width} x {region.height} at {region.x}, {region.y}"
        yield "  region", f"{box}, peak score {region.peak_score:.3f}"


def _medium(state: str, deleted_at: datetime | None) -> str:
    return f"{state} {_local(deleted_at)}" if deleted_at else str(state)


def _print_judgement(
    console: Console, kind: str, at: datetime, author: str, words: Sequence[str | None]
) -> None:
    line = f"{_local(at)} {author}: {', '.join(word for word in words if word)}"
    console.print(Text(f"{kind:18}", "bold"), Text(_printable(line)), sep="", soft_wrap=True)


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _printable(value: object) -> str:
    """Return a text with escapes for characters that would steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
