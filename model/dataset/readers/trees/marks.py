"""Match masks to their images by name and folder.

ground_truth/crack/000_mask.png    test/crack/000.png          the same kind's folder
masks/000.png                      defects/crack/000.png       one folder for all kinds
ground_truth/crack/000/*.png       test/crack/000.png          several masks of one image
test/crack/000_mask.png            test/crack/000.png          beside the image
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.dataset.readers.folders import listing
from model.errors import DatasetError
from model.words import Words, fold

ENDINGS = ("", "_mask", "_gt", "_GT")
"""Suffixes after an image's stem in the name of its mask; a later one takes precedence."""
_BESIDE = ("_mask", "-mask", "_gt", "-gt", "_ground_truth")
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A file below the data's folder, its folders without split and masks, and its split."""

    path: Path
    key: _Key
    split: str | None = None


def beside(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return a folder's masks with their images, and masks without an image.

    A name with a mask's ending is a mask if its image is in the folder. The others count as masks
    without an image only if the folder has at least one mask.
    """
    images = {Path(name).stem: name for name in names}
    ended = [(name, _base(Path(name).stem)) for name in names]
    masks = {name: images[base] for name, base in ended if base is not None and base in images}
    orphans = [name for name, base in ended if base is not None and name not in masks]
    return masks, orphans if masks else []


def _base(stem: str) -> str | None:
    """Return the stem before a mask's ending; None without such an ending."""
    ending = next((end for end in _BESIDE if stem.lower().endswith(end)), None)
    return stem[: -len(ending)] if ending and len(stem) > len(ending) else None


class Matcher:
    """Finds each mask's image, among defective images first; good images need no mask."""

    def __init__(self, words: Words, defective: Iterable[Marked], good: Iterable[Marked]) -> None:
        self._words = words
        self._defective = _by_stem(defective)
        self._good = _by_stem(good)
        self._keys = {self._bare(m.key) for images in self._defective.values() for m in images}

    def match(self, masks: Iterable[Marked], root: Path) -> tuple[dict[Path, Path], list[Path]]:
        """Return each defective image's mask (a file or a folder), and masks without an image.

        Raises `DatasetError` if none of a folder's masks has an image.
        """
        ranked: dict[Path, tuple[tuple[int, int], Path]] = {}
        unmatched: list[Path] = []
        fits: dict[Path, list[bool]] = defaultdict(list)
        for mask in masks:
            images, rank, path = self._of(mask, self._defective)
            for image in images:
                if image not in ranked or rank >= ranked[image][0]:
                    ranked[image] = (rank, path)
            fitting = bool(images or self._of(mask, self._good)[0])
            fits[self._group(mask)].append(fitting)
            if not fitting:
                unmatched.append(mask.path)
        for folder, fitted in fits.items():
            if not any(fitted):
                self._refuse(root / folder, len(fitted))
        return {image: path for image, (_, path) in ranked.items()}, unmatched

    def _of(
        self, mask: Marked, images: Mapping[str, list[Marked]]
    ) -> tuple[list[Path], tuple[int, int], Path]:
        """Return a mask's images (mostly one), the rank of the match, and the mask's path.

        A folder with the image's name is a single mask.
        """
        folder = mask.path.parent
        key = mask.key[:-1] if mask.key and mask.key[-1] == fold(folder.name) else mask.key
        for number, ending in reversed([*enumerate(ENDINGS)]):
            for kind, (path, place) in enumerate(((mask.path, mask.key), (folder, key))):
                stem = path.stem if kind == 0 else path.name
                if stem.endswith(ending):
                    named = images.get(stem.removesuffix(ending), [])
                    matches = self._fitting(named, place, mask.split or "test")
                    if matches:
                        return matches, (kind, number), path
        return [], (0, 0), mask.path

    def _fitting(self, images: Sequence[Marked], key: _Key, split: str) -> list[Path]:
        """Return the images in the same folder, or else in the only similar one.

        Images in `split` take precedence over those in other splits.
        """
        bare = self._bare(key)
        for fitting in (
            [image for image in images if image.key == key],
            [image for image in images if self._bare(image.key) == bare],
            [image for image in images if _is_within(bare, self._bare(image.key))],
        ):
            if fitting:
                chosen = [image for image in fitting if image.split == split] or fitting
                together = len({image.path.parent for image in chosen}) == 1
                return [image.path for image in chosen] if together else []
        return []

    def _bare(self, key: _Key) -> _Key:
        """Return a key without words for good or defective, dates and fillers."""
        return tuple(name for name in key if self._words.meaning(name).is_name)

    def _group(self, mask: Marked) -> Path:
        """Return a mask's folder, for one kind or for all kinds."""
        if self._bare(mask.key) in self._keys:
            return mask.path.parent
        if mask.key and self._bare(mask.key[:-1]) in self._keys:
            return mask.path.parent.parent
        parts = mask.path.parent.parts
        at = [n for n, part in enumerate(parts) if self._words.meaning(part).mask]
        return Path(*parts[: at[0] + 1]) if at else mask.path.parent

    def _refuse(self, folder: Path, count: int) -> None:
        if not self._defective:
            return
        places = {s: {m.path.parent.name for m in marked} for s, marked in self._defective.items()}
        stem = min([s for s in places if folder.name in places[s]] or places)
        raise DatasetError(
            f"none of the {count} masks in {folder} belongs to an image: expected "
            f"{stem}_mask.png or {stem}.png, ..., found {listing(folder)}"
        )


def _by_stem(images: Iterable[Marked]) -> dict[str, list[Marked]]:
    by_stem: dict[str, list[Marked]] = defaultdict(list)
    for image in images:
        by_stem[image.path.stem].append(image)
    return by_stem


def _is_within(short: _Key, long: _Key) -> bool:
    """Whether `short` is a subsequence of `long`."""
    left = iter(long)
    return all(name in left for name in short)
