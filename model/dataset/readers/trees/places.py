"""Derive category, split, label and kind of defect from an image's folders.

    reading = Reading(words, categories=("bolt",))
    reading.place(("bolt", "test", "NG", "2026-11-03"))     above: bolt, split: test, good: no

`model.words` gives each folder name one role: split, label, masks, a date (which
is ignored), or a name. Names before the label are categories; names after it are kinds of defect,
or batches of good parts.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from model.names import safe_name
from model.words import Meaning, Words, fold


@dataclass(frozen=True, slots=True)
class Place:
    """The meaning of one folder's path.

    `above` are the names before the label, the category first; `between`: a name is between split
    and label. `below` are the names after the label. `label` is the folder name for good or
    defective parts, `given`: the user named it. `key` is the path without split and mask folders;
    masks are matched by it.
    """

    parts: tuple[str, ...]
    split: str | None = None
    good: bool | None = None
    label: str | None = None
    given: bool = False
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    between: bool = False
    explicit: bool = False
    mask: bool = False
    key: tuple[str, ...] = ()
    contradiction: str | None = None

    @property
    def is_sorted(self) -> bool:
        """Whether the path has a split or a label."""
        return self.split is not None or self.good is not None


@dataclass(slots=True)
class Reading:
    """Interprets folder names; `categories` are the user's, `root` is the data folder's name.

    Ignores names in `silent`.
    """

    words: Words
    root: str
    categories: Collection[str] = ()
    silent: Collection[str] = ()
    _category_forms: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._category_forms = frozenset(
            form for category in self.categories for form in _forms(category)
        )

    def is_category(self, name: str) -> bool:
        """Whether `name` is a requested category.

        A word of the table is a category only if the user gave it and the data folder has another
        name.
        """
        forms = set(_forms(name))
        if self.words.meaning(name).is_name:
            return not self._category_forms.isdisjoint(forms)
        return not self.words.categories.isdisjoint(forms) and fold(self.root) not in forms

    def place(self, parts: tuple[str, ...]) -> Place:
        """Return the meaning of a folder's path below the data folder."""
        path = _Path(parts)
        for at, name in enumerate(parts):
            if path.category is None and self.is_category(name):
                path.category = name
                path.key.append(fold(name))
            elif name not in self.silent:
                path.take(at, name, self.words.meaning(name))
        if path.good is None and path.split is None and not path.names and self._root_is_good():
            path.good, path.label, path.given = True, self.root, True
        return path.place()

    def _root_is_good(self) -> bool:
        return bool(self.words.good & {".", fold(self.root)})


def _forms(name: str) -> tuple[str, str]:
    return fold(name), fold(safe_name(name))


@dataclass(slots=True)
class _Path:
    """Collects a path's roles name by name; `*_at` are indices into `parts`."""

    parts: tuple[str, ...]
    category: str | None = None
    split: str | None = None
    good: bool | None = None
    label: str | None = None
    given: bool = False
    mask: bool = False
    contradiction: str | None = None
    split_at: int = field(init=False)
    label_at: int = field(init=False)
    names: list[tuple[int, str]] = field(default_factory=list)
    fillers: list[tuple[int, str]] = field(default_factory=list)
    key: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.split_at = self.label_at = len(self.parts)

    def take(self, at: int, name: str, meaning: Meaning) -> None:
        if meaning.mask:
            self.mask = True
            return
        if meaning.split is not None:
            if self.split not in {None, meaning.split}:
                self.contradiction = f"is in {self.parts[self.split_at]}/ and in {name}/"
            self.split, self.split_at = meaning.split, min(at, self.split_at)
        if meaning.good is not None:
            self._label(at, name, meaning)
        elif meaning.is_name:
            self.names.append((at, name))
        elif meaning.filler:
            self.fillers.append((at, name))
        if meaning.split is None:
            self.key.append(fold(name))

    def _label(self, at: int, name: str, meaning: Meaning) -> None:
        if self.good not in {None, meaning.good}:
            self.contradiction = f"is in {self.label}/ and in {name}/"
        self.good, self.label = meaning.good, self.label or name
        self.given, self.label_at = self.given or meaning.given, min(at, self.label_at)

    def place(self) -> Place:
        border = self.label_at if self.label is not None else self.split_at
        above = [name for at, name in self.names if at < border]
        if not above:  # without another name, a filler ("images", "data") is the category
            first = min(self.label_at, self.split_at)
            above = [name for at, name in self.fillers if at < first][:1]
        if self.category is not None:
            is_sorted = self.split is not None or self.good is not None
            above = [self.category, *([] if is_sorted else above)]
        return Place(
            self.parts,
            self.split,
            self.good,
            self.label,
            self.given,
            tuple(above),
            tuple(name for at, name in self.names if at > border),
            self.label is not None
            and any(self.split_at < at < self.label_at for at, _ in self.names),
            self.category is not None,
            self.mask,
            tuple(self.key),
            self.contradiction,
        )
