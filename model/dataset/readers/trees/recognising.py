"""Detect a tree's layout from its folder names, without reading images."""

from collections import deque
from pathlib import Path

from model.dataset.readers.folders import folders_in
from model.words import Words

_DEPTH = 4
_FOLDERS = 2000


def categories_in(root: Path, good: str = "good") -> list[Path]:
    """Return the folders with `train` or `test`: the root itself, or folders in it."""
    if (root / "train" / good).is_dir() or (root / "test" / good).is_dir():
        return [root]
    return [f for f in folders_in(root) if (f / "train").is_dir() or (f / "test").is_dir()]


def holds_good(folder: Path) -> bool:
    """Whether a folder that is not a split has a folder of good parts."""
    words = Words()
    if words.meaning(folder.name).split is not None:
        return False
    meanings = (words.meaning(path.name) for path in folders_in(folder))
    return any(meaning.good and meaning.split is None for meaning in meanings)


def has_words(root: Path) -> bool:
    """Whether any folder, a few levels deep, is named by a word for a split or a label."""
    words = Words()
    coming = deque([(root, 0)])
    for _ in range(_FOLDERS):
        if not coming:
            return False
        folder, depth = coming.popleft()
        for path in folders_in(folder):
            meaning = words.meaning(path.name)
            if meaning.split is not None or meaning.good is not None:
                return True
            if depth < _DEPTH:
                coming.append((path, depth + 1))
    return False
