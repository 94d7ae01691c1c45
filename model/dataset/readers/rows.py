"""Turn rows of a list, a table or a JSON file, one per image, into a data set."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from model.dataset.readers.request import Request
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError
from model.images.files import is_there
from model.inspection import Category
from model.words import Words, split_of

_TEST_SHARE = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a list; `split` is train, test, held_out, or None if the list has no split.

    `place` is its position, for messages.
    """

    sample: Sample
    split: str | None
    place: str


def dataset_of(rows: Iterable[Row], request: Request, layout: str) -> Dataset:
    """Sort rows into splits; raises `DatasetError` for a defect outside the test split.

    Without a split, defective images go to test, and with them about every fifth good image of the
    category. The hash of the file name decides, so other rows do not matter.
    """
    rows = list(rows)
    if not rows:
        raise DatasetError(f"{request.root} lists no images")
    chosen = request.choose(row.sample.category for row in rows)
    splits: dict[str, list[Sample]] = {"train": [], "test": [], "held_out": []}
    unsorted: list[Sample] = []
    for row in rows:
        category = chosen.get(row.sample.category)
        if category is None:
            continue
        sample = replace(row.sample, category=category)
        if row.split is None:
            unsorted.append(sample)
            continue
        if row.split != "test" and not row.sample.is_good:
            raise DatasetError(
                f"{row.place}: {row.sample.path.name} is {row.sample.defect}, but the split "
                f"{row.split} takes good parts only"
            )
        splits[row.split].append(sample)
    train, test = set_aside(unsorted)
    return Dataset(
        splits["train"] + train,
        splits["test"] + test,
        splits["held_out"],
        layout,
        names=renamed(chosen),
    )


def renamed(chosen: Mapping[str, Category]) -> dict[Category, str]:
    """Return the original names of categories whose safe name differs."""
    return {category: name for name, category in chosen.items() if name != category}


def set_aside(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Split images into train and test if the data has no split."""
    samples = list(samples)
    tested = {sample.category for sample in samples if not sample.is_good}
    by_turn = {s: s.category in tested and _drawn(s.path.name) for s in samples if s.is_good}
    for category in tested:  # at least one good image in train and in test
        good = sorted((s for s in by_turn if s.category == category), key=lambda s: s.path)
        if len(good) > 1 and len({by_turn[s] for s in good}) == 1:
            by_turn[good[0]] = not by_turn[good[0]]
    train = [s for s in samples if s.is_good and not by_turn[s]]
    return train, [s for s in samples if not s.is_good or by_turn[s]]


def read_label(value: Any, place: str, words: Words) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return "good" or the kind of defect for a list's label."""
    text = "" if value is None else str(value).strip()
    if not text:
        raise DatasetError(f"{place}: no label: expected good, or a kind of defect")
    good = words.is_good(text)
    if good:
        return GOOD
    return text if good is None or words.meaning(text).given else DEFECTIVE


def read_split(value: Any, place: str) -> str | None:  # noqa: ANN401
    """Return the split for a list's value; None for an empty one."""
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    split = split_of(text)
    if split is None:
        raise DatasetError(
            f"{place}: no split {value!r}: expected train, test, or held_out (validation)"
        )
    return split


def listed_file(base: Path, text: str) -> Path:
    r"""Return the path of a listed file below `base`.

    If no such file exists, also tries "/" for the "\" of Windows, other Unicode normal forms, and
    the cp1252 bytes of older programs.
    """
    forward = text.replace("\\", "/")
    for name in dict.fromkeys((text, forward)):
        for form in (name, normalize("NFC", name), normalize("NFD", name)):
            if is_there(base / form):
                return base / form
        with suppress(UnicodeEncodeError):
            path = base / os.fsdecode(name.encode("cp1252"))
            if is_there(path):
                return path
    return base / forward


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return a JSON file's value; raises `DatasetError`."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not readable JSON: {error}") from error


def field_of(row: Mapping[str, Any], name: str, place: str) -> str:
    """Return a required field of a row as text; raises `DatasetError`."""
    value = row.get(name)
    if value is None or value == "":
        raise DatasetError(f"{place}: no {name!r}: has {', '.join(map(str, row)) or 'nothing'}")
    return str(value)


def _drawn(name: str) -> bool:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] % _TEST_SHARE == 0
