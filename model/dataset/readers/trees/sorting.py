"""Assign folders of images to categories, splits and kinds; ambiguous folders are errors."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.dataset.readers.folders import image_files, listing
from model.dataset.readers.request import Request
from model.dataset.readers.trees.places import Place
from model.dataset.sample import DEFECTIVE, GOOD
from model.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of images of one category, one split and one kind; `defect` is "good" or a kind."""

    path: Path
    place: Place
    category: str
    split: str | None
    defect: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """The folders of the wanted categories, folders outside any category, and empty ones.

    `unwanted` are the names of the other categories.
    """

    folders: list[Folder]
    outside: list[Path]
    empty: list[Path]
    unwanted: frozenset[str]


_Placed = tuple[Path, Place]


def sort_folders(
    request: Request, places: Mapping[Path, Place], bare: Mapping[Path, Place]
) -> Sorted:
    """Assign each folder of images; `bare` are the folders without images.

    Raises `DatasetError` for ambiguous folders.
    """
    tree = _Sorting(request, places)
    chosen = request.choose(tree.groups) if tree.groups else {}
    folders = [folder for name in chosen for folder in tree.folders_of(name)]
    empty = [path for path, place in bare.items() if tree.is_empty(path, place, chosen)]
    return Sorted(folders, tree.outside, empty, frozenset(tree.groups.keys() - chosen.keys()))


class _Sorting:
    """The folders of a tree, by category."""

    def __init__(self, request: Request, places: Mapping[Path, Place]) -> None:
        self._request = request
        self._root = request.root
        self._own_name = request.name(request.root.resolve().name)
        self._inner = {p.above[0] for p in places.values() if p.between and p.above}
        self.outside: list[Path] = []
        self.groups: dict[str, list[_Placed]] = defaultdict(list)
        unsorted: list[_Placed] = []
        deep: list[_Placed] = []
        for path, place in places.items():
            if not place.is_sorted:
                unsorted.append((path, place))
            elif len(place.above) > 1:
                deep.append((path, place))
            else:
                self.groups[self._category(place)].append((path, place))
        self._name_root()
        self._refuse_deep(deep)
        for path, place in unsorted:
            self._refuse_unknown(path, place)
            self.outside.append(path)

    def _category(self, place: Place) -> str:
        """Return the category's name; "" if the data folder itself is the category."""
        if place.above:
            return place.above[0]
        if place.good is None and place.below and place.below[0] in self._inner:
            return place.below[0]
        return ""

    def _name_root(self) -> None:
        """If the data folder itself is a category, name that category."""
        root_group = self.groups.get("")
        if root_group is None:
            return
        others = [name for name in self.groups if name]
        requested = self._request.categories is not None
        explicit = any(place.explicit for group in self.groups.values() for _, place in group)
        if others and not (requested and explicit):
            raise DatasetError(
                f"{self._root} is a category itself ({_shown(root_group[0][0])}) and has others "
                f"({', '.join(sorted(others)[:3])}): give the folder of one of them, or name the "
                f"categories: {_typed('category', others)}"
            )
        if others:
            self._own_name = self._root.resolve().name
        self.groups.setdefault(self._own_name, []).extend(self.groups.pop(""))

    def _refuse_deep(self, deep: list[_Placed]) -> None:
        """Refuse nested folders if both names could be the category."""
        if not deep or self._request.categories is not None:
            self.outside += [path for path, _ in deep]
            return
        path, place = deep[0]
        raise DatasetError(
            f"{self._root / path} is {len(place.above)} folders deep ({'/'.join(place.above)}): "
            f"which is the category? Give {self._root / place.above[0]} as the data, or name the "
            f"categories: {_typed('category', [place.above[-1]])} ..."
        )

    def _refuse_unknown(self, path: Path, place: Place) -> None:
        """Refuse images in a folder with an unknown name beside folders of good parts."""
        for depth in (0, 1):
            if len(place.above) <= depth:
                return
            owner = self._own_name if depth == 0 else place.above[0]
            group = self.groups.get(owner, ())
            mine = [p for _, p in group if len(p.above) == depth and p.split is None]
            if mine:
                name = place.above[depth]
                raise DatasetError(
                    f"{self._root / path} has images beside {mine[0].label}/, and {name!r} is not "
                    f"a known word: give --defective {_quoted(name)} or --good {_quoted(name)}, or "
                    "move it elsewhere"
                )

    def folders_of(self, category: str) -> list[Folder]:
        """Return a category's folders in order of path; without splits, good parts first."""
        group = sorted(self.groups[category], key=lambda placed: placed[0])
        if all(place.split is None for _, place in group):
            group.sort(key=lambda placed: not placed[1].good)
        group = [(path, self._checked(path, place, category)) for path, place in group]
        self._refuse_batches(group, category)
        splits = {place.split for _, place in group}
        folders = []
        for path, place in group:
            defect = self._defect(place, category)
            split = place.split if defect == GOOD else "test"
            if place.split is None:
                split = self._without_split(path, place, splits) if splits != {None} else None
            folders.append(Folder(path, place, category, split, defect))
        return folders

    def _without_split(self, path: Path, place: Place, splits: set[str | None]) -> str:
        """Return the split of images outside any split, if other images have one."""
        if not place.good:
            return "test"
        if "train" in splits:
            raise DatasetError(
                f"{self._root / path} has good parts outside the splits, beside a train split: "
                "move them into train, test or held_out"
            )
        return "train"

    def _checked(self, path: Path, place: Place, category: str) -> Place:
        """Refuse contradictory folders, and images without a label."""
        folder = self._root / path
        if place.contradiction:
            raise DatasetError(f"{folder} {place.contradiction}: it can be only one of them")
        if place.good is not None:
            return place
        kinds = self._kinds(place, category)
        split = self._split_folder(path, place)
        if not kinds:
            if place.split == "held_out":
                return place
            raise DatasetError(self._loose(folder))
        if place.split != "test":
            raise DatasetError(
                f"{split} may have good parts only, in {split / GOOD}; found {listing(split)}: "
                f"give --good {_quoted(kinds[0])} or --defective {_quoted(kinds[0])}"
            )
        if self._request.words.sounds_good(kinds[0]):
            raise DatasetError(
                f"{folder}: is {kinds[0]!r} good, or a kind of defect? Give --good "
                f"{_quoted(kinds[0])} or --defective {_quoted(kinds[0])}"
            )
        return place

    def _loose(self, folder: Path) -> str:
        loose = [path.name for path in image_files(folder)]
        return (
            f"{folder} has {len(loose)} images outside any folder ({loose[0]}, ...): "
            f"expected {folder / GOOD}, or {folder}/<defect>; if all of them are good, give "
            f"--good {_quoted(folder.name)}"
        )

    def _split_folder(self, path: Path, place: Place) -> Path:
        """Return the folder of a place's split."""
        words = self._request.words
        for number, name in enumerate(path.parts, 1):
            if words.meaning(name).split == place.split:
                return self._root.joinpath(*path.parts[:number])
        return self._root

    def _kinds(self, place: Place, category: str) -> tuple[str, ...]:
        """Return the names below the label or split, without the category's name."""
        inner = place.good is None and place.below and place.below[0] in self._inner
        return place.below[1:] if inner and place.below[0] == category else place.below

    def _defect(self, place: Place, category: str) -> str:
        kinds = self._kinds(place, category)
        if place.good or (place.good is None and not kinds):
            return GOOD
        if kinds:
            return kinds[0]
        named = place.split is not None or place.given
        return place.label if named and place.label and place.label != GOOD else DEFECTIVE

    def _refuse_batches(self, group: Iterable[_Placed], category: str) -> None:
        """Refuse folder names below both good and defective parts: they could be categories."""
        below: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for _, place in group:
            kinds = self._kinds(place, category)
            if kinds:
                below[bool(place.good)].setdefault(kinds[0], place.label or place.parts[0])
        both = sorted(below[True].keys() & below[False].keys())
        named = self._request.categories is not None
        if both and not named:
            raise DatasetError(
                f"{self._root}: {below[True][both[0]]}/ and {below[False][both[0]]}/ both have "
                f"{', '.join(both[:3])}: if these are categories, give "
                f"{_typed('category', both)}; if all are one, --category {_quoted(category)}"
            )

    def is_empty(self, path: Path, place: Place, wanted: Iterable[str]) -> bool:
        """Whether to report a folder without images; raises `DatasetError` for a kind's folder."""
        category = self._category(place) or self._own_name
        if not place.is_sorted or place.mask or category not in wanted:
            return False
        kinds = self._kinds(place, category)
        last = bool(place.parts) and place.parts[-1] in {place.label, *kinds[:1]}
        of_a_kind = last and (place.good or (place.good is None and place.split == "test"))
        if of_a_kind or (place.split == "held_out" and place.good is None and not kinds):
            raise DatasetError(
                f"no images in {self._root / path}: found {listing(self._root / path)}"
            )
        return True


def _typed(option: str, names: Iterable[str]) -> str:
    shown = sorted(names)
    return " ".join(f"--{option} {_quoted(name)}" for name in shown[:3])


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _shown(path: Path) -> str:
    return f"{path}/" if path.parts else "images"
