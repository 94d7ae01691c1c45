"""VisA: images by object, with their splits in `split_csv/1cls.csv`.

    split_csv/1cls.csv                      object,split,label,image,mask
    <object>/Data/Images/{Normal,Anomaly}/*.JPG
    <object>/Data/Masks/Anomaly/*.png       0 is background, other values the kinds of defect
    <object>/image_anno.csv                 image,label,mask: the kinds of defect, by name

Source: Zou et al., "SPot-the-difference self-supervised pre-training", ECCV 2022.
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
from model.dataset.readers.tables import csv_rows
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError

_SPLIT = Path("split_csv", "1cls.csv")
_SAYS_NO_KIND = frozenset({"anomaly", "bad", DEFECTIVE})


def read_visa(request: Request) -> Dataset:
    """Read the one-class split; raises `DatasetError`."""
    if not (request.root / _SPLIT).is_file():
        raise DatasetError(f"{request.root} is not in VisA layout: expected {_SPLIT}")
    return dataset_of(_rows(request), request, "visa")


def _rows(request: Request) -> Iterator[Row]:
    root = request.root
    kinds: dict[str, dict[str, str]] = {}
    for row, place in csv_rows(root / _SPLIT):
        category, image = field_of(row, "object", place), field_of(row, "image", place)
        if category not in kinds:
            kinds[category] = _kinds(root / category / "image_anno.csv")
        label = read_label(row.get("label"), place, request.words)
        if label != GOOD and label.lower() in _SAYS_NO_KIND:
            label = kinds[category].get(image, DEFECTIVE)
        mask = row.get("mask")
        marked = listed_file(root, mask) if mask and label != GOOD else None
        sample = Sample(listed_file(root, image), category, label, marked)
        yield Row(sample, read_split(row.get("split"), place), place)


def _kinds(path: Path) -> dict[str, str]:
    """Return the kind of defect of each image, if the object has such a table."""
    if not path.is_file():
        return {}
    kinds = ((row.get("image", ""), row.get("label", "")) for row, _ in csv_rows(path))
    return {image: label for image, label in kinds if label and label.lower() != "normal"}


VISA = Layout("visa", "split_csv/1cls.csv", lambda root: (root / _SPLIT).is_file(), read_visa)
