"""The arguments of a reader, and the definition of a layout."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model.dataset.sample import Dataset
from model.errors import DatasetError
from model.inspection import Category
from model.names import safe_name, safe_names
from model.words import Words


@dataclass(frozen=True, slots=True)
class Request:
    """The data's path and the wanted categories; None means all.

    `local_root` is the folder of listed files whose paths are remote, such as `s3://`; `words` tell
    good from defective parts.
    """

    root: Path
    categories: tuple[str, ...] | None = None
    local_root: Path | None = None
    words: Words = field(default_factory=Words)

    def choose(self, names: Iterable[str]) -> dict[str, Category]:
        """Return the wanted ones of the categories `names`, with their safe names.

        The order is that of the request, or else by name. Categories may be requested by the name
        in the data or by the safe name. Raises `DatasetError` for a missing category.
        """
        have = safe_names(sorted(set(names)))
        by_word = {safe: name for name, safe in have.items()} | {name: name for name in have}
        requested = list(have) if self.categories is None else list(dict.fromkeys(self.categories))
        missing = [
            name for name in requested if name not in by_word and safe_name(name) not in by_word
        ]
        if missing or not requested:
            raise DatasetError(
                f"no category {', '.join(missing) or 'chosen'} in {self.root}; "
                f"have: {', '.join(have) or 'none'}"
            )
        chosen = [by_word.get(name) or by_word[safe_name(name)] for name in requested]
        return {name: have[name] for name in chosen}

    def name(self, fallback: str) -> str:
        """Return the category of data without categories: the requested one, or `fallback`."""
        requested = self.categories
        return requested[0] if requested is not None and len(requested) == 1 else fallback


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of data: its name, and functions that recognise and read it.

    `looks_for` describes its files in messages.
    """

    name: str
    looks_for: str
    recognises: Callable[[Path], bool]
    read: Callable[[Request], Dataset]
