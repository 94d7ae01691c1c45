"""`meta.json` at a data set's root, as in the ADer benchmark and similar ones.

    {"train": {"<category>": [{"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}]},
     "test": {...}}

Paths are relative to the root. Source: Zhang et al., "ADer", 2024.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import Row, dataset_of, field_of, listed_file, read_json
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError

_FILE = "meta.json"


def read_ader(request: Request) -> Dataset:
    """Read a `meta.json`; raises `DatasetError`."""
    path = _find(request.root)
    if path is None:
        raise DatasetError(f"{request.root} has no {_FILE}")
    values = read_json(path)
    if not _fits(values):
        raise DatasetError(
            f'{path}: expected {{"train": {{"<category>": [...]}}, "test": {{...}}}}'
        )
    base = request.local_root or path.parent
    return dataset_of(_rows(values, base, path.name), request, "ader")


def _find(root: Path) -> Path | None:
    if root.is_file():
        return root if root.name == _FILE else None
    return root / _FILE if (root / _FILE).is_file() else None


def _fits(values: Any) -> bool:  # noqa: ANN401
    return isinstance(values, dict) and all(
        isinstance(values.get(split), dict) for split in ("train", "test")
    )


def _rows(values: dict[str, Any], base: Path, file: str) -> Iterator[Row]:
    for split in ("train", "test"):
        for category, entries in values[split].items():
            for number, entry in enumerate(entries, 1):
                place = f"{file}, {split} {category} {number}"
                yield Row(_sample(entry, category, base, place), split, place)


def _sample(entry: dict[str, Any], category: str, base: Path, place: str) -> Sample:
    image = listed_file(base, field_of(entry, "img_path", place))
    if not int(field_of(entry, "anomaly", place)):
        return Sample(image, category, GOOD)
    kind = str(entry.get("specie_name") or DEFECTIVE)
    mask = entry.get("mask_path")
    return Sample(
        image,
        category,
        DEFECTIVE if kind == GOOD else kind,
        listed_file(base, str(mask)) if mask else None,
    )


ADER = Layout("ader", "meta.json with train and test", lambda r: _find(r) is not None, read_ader)
