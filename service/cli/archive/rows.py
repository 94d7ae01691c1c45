"""Writes inspections as CSV, safe to open in a spreadsheet, or as JSON Lines."""

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TextIO

from service.api.inspections.schemas import InspectionRow

_FORMULA = tuple("=+-@")
_CONTROLS = ("\t", "\r", "\n")
_PLAIN = (
    "inspection_id", "received_at", "captured_at", "node", "origin", "category", "part_id",
    "station", "job_id", "told", "source", "told_reason", "fail_safe", "found", "score",
    "raw_score", "threshold", "review_threshold", "verdict", "is_held", "repeats", "problem",
    "problem_detail", "request_id", "caller",
)  # fmt: skip
COLUMNS = (
    *_PLAIN, "model_name", "model_version", "model_sha256", "calibration_version", "meta", "views",
    "image_state", "image_sha256",
)  # fmt: skip
"""The columns of a CSV; those of an image are the first view's."""


class RowFormat(StrEnum):
    """The format of exported rows."""

    CSV = "csv"
    JSONL = "jsonl"


def write_rows(rows: Iterable[InspectionRow], file: TextIO, row_format: RowFormat) -> int:
    """Write rows, and return their number; open the file with `newline=""`."""
    if row_format is RowFormat.JSONL:
        lines = (file.write(row.model_dump_json() + "\n") for row in rows)
    else:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        lines = (writer.writerow(map(cell, _values(row))) for row in rows)
    return sum(1 for _ in lines)


def cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; numbers stay as they are.

    >>> cell("=HYPERLINK(A1)"), cell(-1.5), cell(None)
    ("'=HYPERLINK(A1)", -1.5, '')
    """
    if value is None:
        return ""
    if isinstance(value, float | int):
        return value
    text = str(value)
    beginning = unicodedata.normalize("NFKC", text.lstrip()[:1])  # a wide = is one, too
    is_formula = beginning in _FORMULA or text.startswith(_CONTROLS)
    return f"'{text}" if is_formula else text


def _values(row: InspectionRow) -> Iterator[object]:
    plain = row.model_dump(mode="json", include=set(_PLAIN))
    yield from (plain[name] for name in _PLAIN)
    model = row.model
    yield from (
        (model.name, model.version, model.sha256, model.calibration_version)
        if model
        else [None] * 4
    )
    yield json.dumps(row.meta, ensure_ascii=False) if row.meta else None
    yield len(row.views)
    image = row.views[0].image if row.views else None
    yield from (image.state, image.sha256) if image else (None, None)
