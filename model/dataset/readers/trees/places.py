"""What an image's folders say of it: category, split, good or not, kind of defect.

    reading = Reading(words, categories=("bolt",))
    reading.place(("bolt", "test", "NG", "2026-11-03"))     above: bolt, split: test, good: no

Each folder's name has one role, by `model.dataset.readers.words`: split, label, masks, a date (of
no meaning), or a name. Names before the label are the category's, names after it are the kind of
defect's, or a batch's where the parts are good.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from model.dataset.readers.words import Meaning, Words, fold
from model.names import safe_name


@dataclass(frozen=True, slots=True)
class Place:
    """What one folder says.

    `above` are the names before the label, of which the first is the category's; `between` says
    that it lies between split and label. `below` are those after it. `label` is the name that says
    whether parts are good, `given` whether the user said so. `key` is the path without split and
    mask folders, by which masks find their images.
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
        """Whether anything says what the images are, or are for."""
        return self.split is not None or self.good is not None


@dataclass(slots=True)
class Reading:
    """Reads folders' names; `categories` are those that the user named, `root` the data's name.

    Names in `silent` mean nothing.
    """

    words: Words
    root: str
    categories: Collection[str] = ()
    silent: Collection[str] = ()
    _asked: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._asked = frozenset(name for asked in self.categories for name in _forms(asked))

    def is_category(self, name: str) -> bool:
        """Whether a category that is wanted is called so.

        A word of the table is a category only where the user gave it outright, and where the data
        itself is not called so.
        """
        forms = set(_forms(name))
        if self.words.meaning(name).is_name:
            return not self._asked.isdisjoint(forms)
        return not self.words.categories.isdisjoint(forms) and fold(self.root) not in forms

    def place(self, parts: tuple[str, ...]) -> Place:
        """Say what a folder's path, below the data's, means."""
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
    """A path's roles while its names are taken one by one; `*_at` are places in `parts`."""

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
                self.contradiction = f"lies in {self.parts[self.split_at]}/ and in {name}/"
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
            self.contradiction = f"lies in {self.label}/ and in {name}/"
        self.good, self.label = meaning.good, self.label or name
        self.given, self.label_at = self.given or meaning.given, min(at, self.label_at)

    def place(self) -> Place:
        border = self.label_at if self.label is not None else self.split_at
        above = [name for at, name in self.names if at < border]
        if not above:  # "images", "data": the category's name where there is no other
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
