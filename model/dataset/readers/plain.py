"""A plain folder: good parts, and perhaps defective ones, and perhaps their masks.

    [<category>/]good/*.png
    [<category>/]defects/*.png             or defects/<kind>/*.png
    [<category>/]masks/<stem>.png          or <stem>_mask.png, or in a folder of the kind's name

The lines' own words do as well, in capitals or not: OK or normal for good; defective, bad, NG, KO
or anomaly for defects. Where there are defects, about every fifth good image is tested with.
"""

from collections.abc import Iterator
from pathlib import Path

from model.dataset.readers.folders import folders_in, image_files, images_in, listing, masks_for
from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import Row, dataset_of
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError
from model.inspection import Category

_GOOD = frozenset({"good", "ok", "normal"})
_DEFECTS = frozenset({"defects", "defect", "defective", "bad", "ng", "ko", "anomaly", "anomalies"})
_MASKS = frozenset({"masks", "mask", "ground_truth"})


def read_plain(request: Request) -> Dataset:
    """Read a plain folder; raises `DatasetError`."""
    root = request.root
    if _one_of(root, _GOOD):
        rows = list(_rows(root, request.name(root.resolve().name)))
        return dataset_of(rows, request, "plain")
    found = {folder.name: folder for folder in folders_in(root) if _one_of(folder, _GOOD)}
    if not found:
        raise DatasetError(
            f"{root} is no plain folder of images: expected good/, or <category>/good/, found "
            f"{listing(root)}"
        )
    chosen = request.choose(found)
    rows = [row for name in chosen for row in _rows(found[name], name)]
    return dataset_of(rows, request, "plain")


def _rows(folder: Path, category: Category) -> Iterator[Row]:
    good, defects = _one_of(folder, _GOOD), _one_of(folder, _DEFECTS)
    assert good is not None
    for path in images_in(good):
        yield Row(Sample(path, category, GOOD), None, str(path))
    if defects is None:
        return
    kinds = [*([defects] if image_files(defects) else []), *folders_in(defects)]
    images = {kind: images_in(kind) for kind in kinds}
    masks = _masks(_one_of(folder, _MASKS), images)
    for kind, paths in images.items():
        name = DEFECTIVE if kind == defects else kind.name
        for path in paths:
            yield Row(Sample(path, category, name, masks.get(path)), None, str(path))


def _masks(folder: Path | None, images: dict[Path, list[Path]]) -> dict[Path, Path]:
    """Return the images' masks: in a folder of the kind's name, or beside those of other kinds."""
    if folder is None:
        return {}
    apart = {kind: paths for kind, paths in images.items() if (folder / kind.name).is_dir()}
    found = [masks_for(folder / kind.name, paths) for kind, paths in apart.items()]
    together = [path for kind, paths in images.items() if kind not in apart for path in paths]
    return {
        image: mask
        for part in (*found, masks_for(folder, together))
        for image, mask in part.items()
    }


def _one_of(folder: Path, names: frozenset[str]) -> Path | None:
    return next((path for path in folders_in(folder) if path.name.lower() in names), None)


def _recognises(root: Path) -> bool:
    return any(_one_of(folder, _GOOD) for folder in (root, *folders_in(root)))


PLAIN = Layout(
    "plain", "good/, and perhaps defects/ and masks/ (or <category>/good/)", _recognises, read_plain
)
