"""Rows of a list, a table or a JSON file, each one image, turned into a data set."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.dataset.readers.request import Request
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError

_GOOD_WORDS = frozenset({"good", "ok", "normal", "0", "false"})
_BARE_WORDS = frozenset({"1", "true", "ng", "ko", "bad", "defect", "defective"})
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "held_out": "held_out",
    "validation": "held_out",
    "valid": "held_out",
    "val": "held_out",
    "calibration": "held_out",
}
_TEST_SHARE = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a list; `split` is train, test, held_out, or None where the list says nothing.

    `place` says where it stands, for messages.
    """

    sample: Sample
    split: str | None
    place: str


def dataset_of(rows: Iterable[Row], request: Request, layout: str) -> Dataset:
    """Sort rows into splits; raises `DatasetError` for a defect where only good parts belong.

    Without a split, defects are tested with, and so is about every fifth good image of a category
    that has any: those whose names' hashes say so, whatever else the list holds.
    """
    rows = list(rows)
    if not rows:
        raise DatasetError(f"{request.root} lists no images")
    chosen = request.choose(row.sample.category for row in rows)
    splits: dict[str, list[Sample]] = {"train": [], "test": [], "held_out": []}
    unsorted: list[Sample] = []
    for row in rows:
        if row.sample.category not in chosen:
            continue
        if row.split is None:
            unsorted.append(row.sample)
            continue
        if row.split != "test" and not row.sample.is_good:
            raise DatasetError(
                f"{row.place}: {row.sample.path.name} is {row.sample.defect} and in the split "
                f"{row.split}, which takes good parts only"
            )
        splits[row.split].append(row.sample)
    train, test = set_aside(unsorted)
    return Dataset(splits["train"] + train, splits["test"] + test, splits["held_out"], layout)


def set_aside(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Split images that nobody has split into those to train on and those to test with."""
    samples = list(samples)
    tested = {sample.category for sample in samples if not sample.is_good}
    by_turn = {s: s.category in tested and _drawn(s.path.name) for s in samples if s.is_good}
    for category in tested:  # a small category keeps at least one good image on either side
        own = sorted((s for s in by_turn if s.category == category), key=lambda s: s.path)
        if len(own) > 1 and len({by_turn[s] for s in own}) == 1:
            by_turn[own[0]] = not by_turn[own[0]]
    train = [s for s in samples if s.is_good and not by_turn[s]]
    return train, [s for s in samples if not s.is_good or by_turn[s]]


def read_label(value: Any, place: str) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return "good", or the kind of defect, that a list's label means."""
    text = "" if value is None else str(value).strip()
    if not text:
        raise DatasetError(f"{place}: no label: expected good, or a kind of defect")
    if text.lower() in _GOOD_WORDS:
        return GOOD
    return DEFECTIVE if text.lower() in _BARE_WORDS else text


def read_split(value: Any, place: str) -> str | None:  # noqa: ANN401
    """Return which split a list means; None where it says nothing."""
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if text not in _SPLITS:
        raise DatasetError(
            f"{place}: no split {value!r}: expected train, test, or held_out (validation)"
        )
    return _SPLITS[text]


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return what a JSON file holds; raises `DatasetError`."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not readable JSON: {error}") from error


def field_of(row: Mapping[str, Any], name: str, place: str) -> str:
    """Return a field that a row must have, as text."""
    value = row.get(name)
    if value is None or value == "":
        raise DatasetError(f"{place}: no {name!r}: has {', '.join(map(str, row)) or 'nothing'}")
    return str(value)


def _drawn(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % _TEST_SHARE == 0
