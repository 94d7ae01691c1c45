"""A list of images in a file of one's own: a table (CSV) or JSON lines.

image     the file; relative to the list's folder, or to the local root where one is given
label     good (ok, normal, 0), or the kind of defect
category  the part; by default the list's own name         (optional)
split     train, test, or held_out (validation)            (optional)
mask      where the defect is, an image of the same size   (optional)
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import Row, dataset_of, field_of, read_label, read_split
from model.dataset.sample import GOOD, Dataset, Sample
from model.errors import DatasetError

COLUMNS = ("image", "label", "category", "split", "mask")
_NAMES = ("manifest.csv", "manifest.jsonl", "dataset.csv", "dataset.jsonl")
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_UNNAMED = frozenset({"manifest", "dataset", "images", "list", "train", "test"})


def read_list(request: Request) -> Dataset:
    """Read a list of images; raises `DatasetError` naming the line that is wrong."""
    path = _find(request.root)
    if path is None:
        raise DatasetError(
            f"{request.root} is no list of images: expected a .csv or .jsonl file, or a folder "
            f"with {' or '.join(_NAMES)}"
        )
    base = request.local_root or path.parent
    stem = path.resolve().parent.name if path.stem.lower() in _UNNAMED else path.stem
    return dataset_of(_rows(path, base, stem, request), request, "list")


def csv_rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row of a table with a heading, and where it stands."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in (table := csv.DictReader(file, skipinitialspace=True)):
                values = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
                yield values, f"{path.name}, line {table.line_num}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a readable table: {error}") from error


def json_lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each object of a JSON lines file, and where it stands."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _object(line, f"{path.name}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not readable: {error}") from error


def _object(line: str, place: str) -> tuple[dict[str, Any], str]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected a JSON object, got {type(value).__name__}")
    return value, place


def _rows(path: Path, base: Path, fallback: str, request: Request) -> Iterator[Row]:
    lines = json_lines(path) if path.suffix.lower() in _JSON_LINES else csv_rows(path)
    for row, place in lines:
        unknown = sorted(set(row) - set(COLUMNS))
        if unknown:
            raise DatasetError(
                f"{place}: no column {', '.join(unknown)}: expected {', '.join(COLUMNS)}"
            )
        label = read_label(row.get("label"), place)
        category = row.get("category") or request.name(fallback)
        mask = row.get("mask")
        sample = Sample(
            base / field_of(row, "image", place),
            str(category),
            label,
            base / str(mask) if mask and label != GOOD else None,
        )
        yield Row(sample, read_split(row.get("split"), place), place)


def _find(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in {".csv", *_JSON_LINES} else None
    return next((root / name for name in _NAMES if (root / name).is_file()), None)


LIST = Layout(
    "list",
    f"a .csv or .jsonl file (or {', '.join(_NAMES)} in the folder) with {', '.join(COLUMNS)}",
    lambda root: _find(root) is not None,
    read_list,
)
