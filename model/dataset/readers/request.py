"""What is asked of a reader, and what a layout is."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from model.dataset.sample import Dataset
from model.errors import DatasetError
from model.inspection import NAME_PATTERN, Category


@dataclass(frozen=True, slots=True)
class Request:
    """Where the data is, and which of it is wanted: all categories unless some are named.

    `local_root` is where files lie that the data names by another place, as `s3://` does.
    """

    root: Path
    categories: tuple[Category, ...] | None = None
    local_root: Path | None = None

    def choose(self, found: Iterable[Category]) -> list[Category]:
        """Return those of the categories found that are wanted, checked to be names.

        In the order asked for, or else of name. Raises `DatasetError` for one that is not there.
        """
        have = sorted(set(found))
        chosen = have if self.categories is None else list(dict.fromkeys(self.categories))
        missing = [name for name in chosen if name not in have]
        if missing or not chosen:
            raise DatasetError(
                f"no category {', '.join(missing) or 'chosen'} in {self.root}; "
                f"have: {', '.join(have) or 'none'}"
            )
        for name in chosen:
            check_category(name, self.root)
        return chosen

    def name(self, fallback: str) -> Category:
        """Return the category of data that names none: the one asked for, or `fallback`."""
        asked = self.categories
        name = asked[0] if asked is not None and len(asked) == 1 else fallback
        check_category(name, self.root)
        return name


@dataclass(frozen=True, slots=True)
class Layout:
    """One way that data is laid out: how it is told, and how it is read.

    `looks_for` completes "expected ...".
    """

    name: str
    looks_for: str
    recognises: Callable[[Path], bool]
    read: Callable[[Request], Dataset]


def check_category(name: str, place: Path) -> None:
    """Raise `DatasetError` for what can be no category's name."""
    if not re.fullmatch(NAME_PATTERN[1:-1], name):
        raise DatasetError(
            "a category's name is letters, digits, '.', '_' and '-', the first a letter or "
            f"digit: rename the folder {place / name if place.name != name else place}, or the "
            "category in the list that names it"
        )
