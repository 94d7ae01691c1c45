"""The user's list of images: a table (CSV, as spreadsheets write it) or JSON lines.

image     the file; relative to the list's folder, or to the local root if given
label     good (ok, normal, 0), or the kind of defect
category  the part; by default the list's name             (optional)
split     train, test, or held_out (validation)            (optional)
mask      where the defect is, an image of the same size   (optional)
"""

from collections.abc import Iterator
from pathlib import Path

from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import (
    Row,
    dataset_of,
    field_of,
    listed_file,
    read_label,
    read_split,
)
from model.dataset.readers.tables import csv_rows, json_lines
from model.dataset.sample import GOOD, Dataset, Sample
from model.errors import DatasetError

COLUMNS = ("image", "label", "category", "split", "mask")
_NAMES = (
    "manifest.csv", "manifest.tsv", "manifest.jsonl", "dataset.csv", "dataset.tsv", "dataset.jsonl"
)  # fmt: skip
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_TABLES = frozenset({".csv", ".tsv"})
_WORKBOOKS = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})
_UNNAMED = frozenset({"manifest", "dataset", "images", "list", "train", "test"})


def read_list(request: Request) -> Dataset:
    """Read a list of images; raises `DatasetError` with the number of the wrong line."""
    path = _find(request.root)
    if path is not None and path.suffix.lower() in _WORKBOOKS:
        raise DatasetError(
            f"{path} is a spreadsheet: save the table as CSV (in Excel: CSV UTF-8), with the "
            f"columns {', '.join(COLUMNS)}"
        )
    if path is None:
        raise DatasetError(
            f"{request.root} is not a list of images: expected a .csv or .jsonl file, or a folder "
            f"with {' or '.join(_NAMES)}"
        )
    base = request.local_root or path.parent
    stem = path.resolve().parent.name if path.stem.lower() in _UNNAMED else path.stem
    return dataset_of(_rows(path, base, stem, request), request, "list")


def _rows(path: Path, base: Path, fallback: str, request: Request) -> Iterator[Row]:
    lines = (
        json_lines(path, COLUMNS)
        if path.suffix.lower() in _JSON_LINES
        else csv_rows(path, COLUMNS, ("image", "label"))
    )
    for row, place in lines:
        label = read_label(row.get("label"), place, request.words)
        category = row.get("category") or request.name(fallback)
        mask = row.get("mask")
        sample = Sample(
            listed_file(base, field_of(row, "image", place)),
            str(category),
            label,
            listed_file(base, str(mask)) if mask and label != GOOD else None,
        )
        yield Row(sample, read_split(row.get("split"), place), place)


def _find(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in _TABLES | _JSON_LINES | _WORKBOOKS else None
    return next((root / name for name in _NAMES if (root / name).is_file()), None)


LIST = Layout(
    "list",
    f"a .csv, .tsv or .jsonl file (or {', '.join(_NAMES)} in the folder) with the columns "
    f"{', '.join(COLUMNS)}",
    lambda root: _find(root) is not None,
    read_list,
)
