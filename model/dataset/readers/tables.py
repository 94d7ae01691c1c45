"""Read tables with a heading, as from spreadsheets, and JSON lines.

The separator (comma, semicolon, tab or |) is detected from the heading. The encoding is UTF-8,
UTF-16 with a byte order mark, or else cp1252, Excel's "CSV" in Western Europe.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from model.errors import DatasetError

_SEPARATORS = ",;\t|"
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def csv_rows(
    path: Path, columns: Collection[str] | None = None, needed: Collection[str] = ()
) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row of a table and its position, except empty rows.

    Raises `DatasetError` if the heading lacks a `needed` column or has one outside `columns`.
    """
    try:
        text = _text(path)
        first_line, text = _without_separator_line(text)
        separator = _separator(text)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        heading = [name.strip().strip('"').lower() for name in next(reader, [])]
        _check_heading(heading, f"{path.name}, line {first_line}", columns, needed, separator)
        for cells in reader:
            place = f"{path.name}, line {reader.line_num + first_line - 1}"
            values = [cell.strip() for cell in cells]
            if columns is not None:
                _check_length(heading, values, place, separator)
            if any(values):
                filled = [*values, *[""] * (len(heading) - len(values))]
                yield {k: v for k, v in zip(heading, filled, strict=False) if k}, place
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} is not a readable table: {error}: save it as CSV UTF-8, separated by commas"
        ) from error


def json_lines(
    path: Path, columns: Collection[str] | None = None
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each object of a JSON lines file and its position."""
    try:
        lines = io.StringIO(_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not readable: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            value, place = _object(line, f"{path.name}, line {number}")
            _check_columns(value, place, columns)
            yield value, place


def _text(path: Path) -> str:
    content = path.read_bytes()
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\0" in content[:1000]:
        raise DatasetError(
            f"{path} is not text in UTF-8 (it has zero bytes): save it as CSV UTF-8, or as "
            "UTF-16 with a byte order mark"
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "surrogateescape")


def _without_separator_line(text: str) -> tuple[int, str]:
    """Remove Excel's line "sep=;" and empty lines; return the heading's line number and text."""
    number = 1
    while text:
        line, _, following = text.partition("\n")
        if line.strip() and not line.strip().strip('"').lower().startswith("sep="):
            break
        text, number = following, number + 1
    return number, text


def _separator(text: str) -> str:
    """Return the separator that gives the most columns in the heading; by default a comma."""
    heading = text.partition("\n")[0]
    return max(_SEPARATORS, key=heading.count)


def _check_heading(
    heading: list[str],
    place: str,
    columns: Collection[str] | None,
    needed: Collection[str],
    separator: str,
) -> None:
    _check_columns([name for name in heading if name], place, columns)
    missing = [name for name in needed if name not in heading]
    if missing and heading:
        raise DatasetError(
            f"{place}: the heading has no column {', '.join(missing)}: found "
            f"{', '.join(heading)}, separated by {separator!r}; expected "
            f"{', '.join(columns or needed)}"
        )


def _check_columns(names: Collection[str], place: str, columns: Collection[str] | None) -> None:
    unknown = [] if columns is None else sorted(set(names) - set(columns))
    if unknown and columns is not None:
        raise DatasetError(
            f"{place}: unknown column {', '.join(unknown)}: expected {', '.join(columns)}"
        )


def _check_length(heading: list[str], values: list[str], place: str, separator: str) -> None:
    if any(values[len(heading) :]):
        raise DatasetError(
            f"{place}: {len(values)} columns, but the heading has {len(heading)}: put values "
            f"with {separator!r} in double quotes"
        )


def _object(line: str, place: str) -> tuple[dict[str, Any], str]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected a JSON object, got {type(value).__name__}")
    return value, place
