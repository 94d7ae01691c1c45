"""Terminal tables that never truncate a name: a long name gets a separate line.

table = NamedRows("In percent", "Category", ["Images", "AUROC"])
table.add("bottle", ["83", "99.1"])
Console().print(table)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    cells: Sequence[str]
    style: str
    begins_section: bool


class NamedRows:
    """A table of named rows, at most as wide as the console.

    Headings may have several lines. A row without cells is a heading for the rows below.
    """

    def __init__(self, title: str, heading: str, headings: Sequence[str]) -> None:
        self._title = title
        self._heading = heading
        self._headings = headings
        self._rows: list[_Row] = []

    def add(
        self, name: str, cells: Sequence[str] = (), style: str = "", *, section: bool = False
    ) -> None:
        """Add a row; a `section` starts with a rule above it."""
        self._rows.append(_Row(name, cells, style, section))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw a ruled table if it fits, else plain lines with each long name above its row."""
        table = self._ruled()
        if console.measure(table, options=options.update(max_width=10_000)).maximum <= (
            options.max_width
        ):
            yield table
        else:
            yield from self._lines(options.max_width)

    def _ruled(self) -> Table:
        table = Table(title=self._title or None)
        table.add_column(self._heading, no_wrap=True)
        for heading in self._headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in self._rows:
            if row.begins_section:
                table.add_section()
            table.add_row(Text(row.name), *map(Text, row.cells), style=row.style or None)
        return table

    def _lines(self, width: int) -> Iterator[Text]:
        if self._title:
            yield Text(self._title, "italic")
        widths = [
            max(cell_len(text) for text in (*heading.split("\n"), *column))
            for heading, column in zip(self._headings, self._columns(), strict=True)
        ]
        room = max(width - sum(widths) - _GAP * len(widths), 0)
        names = [*self._heading.split("\n"), *(row.name for row in self._rows)]
        beside = max((cell_len(name) for name in names if cell_len(name) <= room), default=0)
        for line in _heads([self._heading, *self._headings]):
            yield _line(line[0], line[1:], beside, widths, "bold")
        for row in self._rows:
            if row.begins_section:
                yield Text("-" * min(beside + sum(widths) + _GAP * len(widths), width))
            if not row.cells or cell_len(row.name) > beside:
                yield Text(row.name, row.style, overflow="fold")
            if row.cells:
                name = row.name if cell_len(row.name) <= beside else ""
                yield _line(name, row.cells, beside, widths, row.style)

    def _columns(self) -> list[list[str]]:
        return [
            [row.cells[place] for row in self._rows if row.cells]
            for place in range(len(self._headings))
        ]


def _heads(headings: Sequence[str]) -> list[list[str]]:
    """Return the headings line by line, aligned at the bottom."""
    split = [heading.split("\n") for heading in headings]
    height = max(map(len, split))
    return [list(line) for line in zip(*([""] * (height - len(s)) + s for s in split), strict=True)]


def _line(name: str, cells: Sequence[str], beside: int, widths: Sequence[int], style: str) -> Text:
    text = name + " " * (beside - cell_len(name))
    for cell, width in zip(cells, widths, strict=True):
        text += " " * (_GAP + width - cell_len(cell)) + cell
    return Text(text, style, overflow="fold")
