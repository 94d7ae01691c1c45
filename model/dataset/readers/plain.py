"""Plain folders of good and defective parts, and trees in any order.

    [<category>/]good/*.png
    [<category>/]defects/*.png             or defects/<kind>/*.png
    [<category>/]masks/<stem>.png          or <stem>_mask.png, or in a folder of the kind's name

    {train,val,test}/{normal,abnormal}/*.png    and other trees whose folders' names are in the
                                                table of `model.words`

Without a split, defective images are for testing, and with them about every fifth good image. See
`model.dataset.readers.trees`.
"""

from pathlib import Path

from model.dataset.readers.folders import folders_in
from model.dataset.readers.request import Layout
from model.dataset.readers.trees import Tree, has_words, holds_good

PLAIN_TREE = Tree("plain", "plain", needs_split=False)
FOLDERS_TREE = Tree("folders", "any known", needs_split=False)


def _is_plain(root: Path) -> bool:
    return any(holds_good(folder) for folder in (root, *folders_in(root)))


PLAIN = Layout(
    "plain",
    "good/, and perhaps defects/ and masks/ (or <category>/good/)",
    _is_plain,
    PLAIN_TREE.read,
)
FOLDERS = Layout(
    "folders",
    "folders called by words for splits, good and defective parts, in any order (docs/quality.md)",
    has_words,
    FOLDERS_TREE.read,
)
