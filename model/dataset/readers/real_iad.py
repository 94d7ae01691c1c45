"""Real-IAD: one JSON file per category lists the images of each split.

    realiad_jsons/<category>.json                 {"meta": ..., "train": [...], "test": [...]}
    realiad_<size>/<category>/OK/S0001/*.jpg
    realiad_<size>/<category>/NG/<kind>/S0001/*.jpg, and *.png, the masks

The JSON files may be one folder deeper, as in the published archive. To read other splits of the
data (`realiad_jsons_sv`, `realiad_jsons_fuiad_0.4`), give their folder or file as the root. If
there are several image sizes, the smallest is read. Source: Wang et al., "Real-IAD", CVPR 2024.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.dataset.readers.folders import folders_in
from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import Row, dataset_of, field_of, listed_file, read_json
from model.dataset.sample import GOOD, Dataset, Sample
from model.errors import DatasetError

_JSONS = "realiad_jsons"
_SIZE = re.compile(r"realiad_(\d+|raw)")
_KEYS = {"meta", "train", "test"}


def read_real_iad(request: Request) -> Dataset:
    """Read the single-view split; raises `DatasetError`."""
    files = _json_files(request.root)
    if not files:
        raise DatasetError(
            f"{request.root} is not in Real-IAD layout: expected {_JSONS}/<category>.json"
        )
    chosen = request.choose(path.stem for path in files)
    base = request.local_root or _base(request.root, files[0])
    wanted = [path for path in files if path.stem in chosen]
    rows = [row for path in wanted for row in _rows(path, base)]
    return dataset_of(rows, request, "real-iad")


def _json_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix == ".json" and _fits(root) else []
    places = (root / _JSONS / _JSONS, root / _JSONS, root)
    by_place = ([p for p in sorted(place.glob("*.json")) if _fits(p)] for place in places)
    return next((files for files in by_place if files), [])


def _fits(path: Path) -> bool:
    """Whether a JSON file starts like those of Real-IAD, which are too large to parse here."""
    with path.open("rb") as file:
        start = file.read(4096).decode("utf-8", "replace")
    return '"normal_class"' in start and '"meta"' in start


def _base(root: Path, file: Path) -> Path:
    """Return the folder of the smallest images, beside or above the JSON files."""
    for place in (root, *file.resolve().parents[:3]):
        sized = [folder for folder in folders_in(place) if _SIZE.fullmatch(folder.name)]
        if sized:
            return min(sized, key=_pixels)
        if (place / file.stem).is_dir():
            return place
    raise DatasetError(
        f"no images beside {file}: expected realiad_256, realiad_512 or realiad_1024, or "
        f"{file.stem}/, in {root}; give the folder of the images with --local-root"
    )


def _pixels(folder: Path) -> int:
    size = _SIZE.fullmatch(folder.name)
    assert size is not None
    return 10**6 if size[1] == "raw" else int(size[1])


def _rows(path: Path, base: Path) -> Iterator[Row]:
    values: Any = read_json(path)
    if not isinstance(values, dict) or not set(values) >= _KEYS:
        raise DatasetError(f"{path}: expected the keys {', '.join(sorted(_KEYS))}")
    normal = values["meta"].get("normal_class", "OK")
    folder = base / str(values["meta"].get("prefix", path.stem)).strip("/")
    for split in ("train", "test"):
        for number, row in enumerate(values[split], 1):
            place = f"{path.name}, {split} {number}"
            kind = field_of(row, "anomaly_class", place)
            label = GOOD if kind == normal else kind
            mask = row.get("mask_path")
            yield Row(
                Sample(
                    listed_file(folder, field_of(row, "image_path", place)),
                    path.stem,
                    label,
                    listed_file(folder, mask) if mask and label != GOOD else None,
                ),
                split,
                place,
            )


REAL_IAD = Layout(
    "real-iad",
    f"{_JSONS}/<category>.json and realiad_<size>/<category>/{{OK,NG}}",
    lambda root: bool(_json_files(root)),
    read_real_iad,
)
