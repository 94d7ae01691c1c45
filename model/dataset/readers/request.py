"""What is asked of a reader, and what a layout is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model.dataset.readers.words import Words
from model.dataset.sample import Dataset
from model.errors import DatasetError
from model.inspection import Category
from model.names import safe_name, safe_names


@dataclass(frozen=True, slots=True)
class Request:
    """Where the data is, and which of it is wanted: all categories unless some are named.

    `local_root` is where files lie that the data names by another place, as `s3://` does; `words`
    are those by which good and defective parts are told apart.
    """

    root: Path
    categories: tuple[str, ...] | None = None
    local_root: Path | None = None
    words: Words = field(default_factory=Words)

    def choose(self, found: Iterable[str]) -> dict[str, Category]:
        """Return those of the categories found that are wanted, with their safe names.

        In the order asked for, or else of name. A category is asked for by its name as it stands in
        the data, or by its safe name. Raises `DatasetError` for one that is not there.
        """
        have = safe_names(sorted(set(found)))
        by_word = {safe: name for name, safe in have.items()} | {name: name for name in have}
        asked = list(have) if self.categories is None else list(dict.fromkeys(self.categories))
        missing = [name for name in asked if name not in by_word and safe_name(name) not in by_word]
        if missing or not asked:
            raise DatasetError(
                f"no category {', '.join(missing) or 'chosen'} in {self.root}; "
                f"have: {', '.join(have) or 'none'}"
            )
        chosen = [by_word.get(name) or by_word[safe_name(name)] for name in asked]
        return {name: have[name] for name in chosen}

    def name(self, fallback: str) -> str:
        """Return the category of data that names none: the one asked for, or `fallback`."""
        asked = self.categories
        return asked[0] if asked is not None and len(asked) == 1 else fallback


@dataclass(frozen=True, slots=True)
class Layout:
    """One way that data is laid out: how it is told, and how it is read.

    `looks_for` completes "expected ...".
    """

    name: str
    looks_for: str
    recognises: Callable[[Path], bool]
    read: Callable[[Request], Dataset]
