"""Images from a folder: the MVTec layout, splits of good images, and tensors of them.

    <root>/<category>/train/good/*.png
    <root>/<category>/test/good/*.png                         parts that are good
    <root>/<category>/test/<defect>/*.png                     parts that are not
    <root>/<category>/ground_truth/<defect>/<stem>_mask.png   where the defect is (optional)

The root may also be a single category's folder. Hidden files and files that are no images are
passed over; anything else out of place is an error that says what was found.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.utils.data
from jaxtyping import Bool, UInt8
from PIL import ExifTags, Image
from torch import Generator, Tensor

from model.errors import DatasetError
from model.inspection import Category
from model.manifest import NAME_PATTERN
from model.preprocess import Preprocessing, open_image

GOOD = "good"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_LOSSY_SUFFIXES = {".jpg", ".jpeg", ".webp"}
_EXIF_SIDEWAYS = {5, 6, 7, 8}

Augment: TypeAlias = Callable[[Tensor, Generator], Tensor]
"""Changes a uint8 image (3, H, W) as the generator's draws decide."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file: what it shows, and where its defect is marked.

    `defect` is "good" or the name of the defect's folder; `mask` is None for good parts and for
    defects that nobody marked.
    """

    path: Path
    category: Category
    defect: str
    mask: Path | None = None

    @property
    def is_good(self) -> bool:
        """Whether the part is without defect."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Dataset:
    """Good images to train and calibrate on, and test images that neither may see."""

    train: list[Sample]
    test: list[Sample]

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that there are images of, in order of name."""
        return tuple(sorted({sample.category for sample in [*self.train, *self.test]}))


def read_mvtec(root: Path, categories: Iterable[Category] | None = None) -> Dataset:
    """Find the images under `root`, of all categories or of those named, in order of path.

    Raises `DatasetError`, saying what was expected and found, for a missing or empty folder, an
    unknown category, images out of place, or masks that belong to no image.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    folders = _category_folders(root)
    if not folders:
        raise DatasetError(
            f"{root} is not in MVTec layout: expected <category>/train/{GOOD}/*.png (or "
            f"train/{GOOD}/*.png, of a single category), found {_listing(root)}"
        )
    chosen = sorted(folders) if categories is None else list(dict.fromkeys(categories))
    missing = [name for name in chosen if name not in folders]
    if missing or not chosen:
        raise DatasetError(
            f"no category {', '.join(missing) or 'chosen'} in {root}; "
            f"have: {', '.join(sorted(folders))}"
        )
    train = [sample for name in chosen for sample in _read_train(folders[name], name)]
    test = [sample for name in chosen for sample in _read_test(folders[name], name)]
    return Dataset(train, test)


def split_good(
    samples: Sequence[Sample], held_out_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of each category's good images, at least one and never all of them.

    Which ones depends on the seed and on the file names of that category, not on where the folder
    lies, the samples' order or the other categories. Both halves keep the order of `samples`.
    Raises `DatasetError` for a defective sample or a category with fewer than two images.
    """
    if not 0 < held_out_fraction < 1:
        raise DatasetError(f"held_out_fraction must be between 0 and 1, got {held_out_fraction}")
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.is_good:
            raise DatasetError(f"only good images are held out, got {sample.path}")
        groups[sample.category].append(sample)
    held_out: set[Sample] = set()
    for category, group in groups.items():
        if len(group) < 2:
            raise DatasetError(
                f"{category!r} has a single good image: need at least 2, one to train on and "
                "one to calibrate with"
            )
        count = min(max(round(held_out_fraction * len(group)), 1), len(group) - 1)
        ordered = sorted(group, key=lambda sample: (sample.path.name, sample.path))
        held_out.update(random.Random(f"{seed}/{category}").sample(ordered, count))
    return [s for s in samples if s not in held_out], [s for s in samples if s in held_out]


class ImageDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Samples as uint8 tensors (3, H, W), each with its index into `samples`.

    The first images, as many as fit into `cache_bytes`, are kept once decoded. `augment` gets a
    copy of the image and a generator that depends on seed, epoch and index alone, so that worker
    processes change nothing; call `set_epoch` before each epoch. Raises `ImageError` for a file
    that cannot be used.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
        seed: int = 0,
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        self.samples = tuple(samples)
        self.preprocessing = preprocessing
        self.augment = augment
        self.seed = seed
        height, width = preprocessing.image_size
        self._cacheable = cache_bytes // (3 * height * width)
        self._cache: dict[int, Tensor] = {}
        # Shared memory: worker processes that live on into the next epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], int]:
        image = self._cache.get(index)
        if image is None:
            image = torch.from_numpy(
                self.preprocessing.to_array(open_image(self.samples[index].path))
            )
            if index < self._cacheable:
                self._cache[index] = image
        if self.augment is not None:
            image = self.augment(image.clone(), self._generator(index))
        return image, index

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentation is drawn."""
        self._epoch.fill_(epoch)

    def _generator(self, index: int) -> Generator:
        key = np.random.SeedSequence((self.seed, int(self._epoch), index))
        return Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def read_mask(sample: Sample, image_size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Return where the defect is, resized to `image_size` (height, width) by nearest neighbour.

    Any value above 0 marks the defect (above half in JPEG and WebP, which smear edges); a good
    part has none. Raises `DatasetError` for a defect without mask or a mask of another size.
    """
    if sample.is_good:
        return np.zeros(image_size, dtype=bool)
    if sample.mask is None:
        raise DatasetError(f"{sample.path} is defective and has no mask")
    mask = open_image(sample.mask)
    expected = _upright_size(sample.path)
    if mask.size != expected:
        raise DatasetError(
            f"{sample.mask} is {mask.size[0]} x {mask.size[1]} px, its image {sample.path.name} "
            f"{expected[0]} x {expected[1]}: a mask has its image's size"
        )
    plain = mask.convert("RGB") if mask.mode in {"P", "LA", "RGBA"} else mask
    values = np.asarray(plain).reshape(mask.height, mask.width, -1).max(axis=-1)
    marked = values > (127 if sample.mask.suffix.lower() in _LOSSY_SUFFIXES else 0)
    height, width = image_size
    return np.asarray(Image.fromarray(marked).resize((width, height), Image.Resampling.NEAREST))


def _category_folders(root: Path) -> dict[Category, Path]:
    if (root / "train" / GOOD).is_dir() or (root / "test" / GOOD).is_dir():
        return {root.resolve().name: root}
    folders = {folder.name: folder for folder in _folders(root)}
    return {k: v for k, v in folders.items() if (v / "train").is_dir() or (v / "test").is_dir()}


def _read_train(folder: Path, category: Category) -> list[Sample]:
    if not re.fullmatch(NAME_PATTERN[1:-1], category):
        raise DatasetError(
            "a category's name is letters, digits, '.', '_' and '-', the first a letter or "
            f"digit: rename the folder {folder}"
        )
    train = folder / "train"
    if not train.is_dir():
        return []
    kinds = _kinds(train)
    if [kind.name for kind in kinds] != [GOOD]:
        raise DatasetError(
            f"{train} holds good parts only, in {train / GOOD}; found {_listing(train)}"
        )
    return [Sample(path, category, GOOD) for path in _images(train / GOOD)]


def _read_test(folder: Path, category: Category) -> list[Sample]:
    test = folder / "test"
    if not test.is_dir():
        return []
    samples = []
    for kind in _kinds(test):
        images = _images(kind)
        masks = {} if kind.name == GOOD else _masks(folder / "ground_truth" / kind.name, images)
        samples += [Sample(path, category, kind.name, masks.get(path)) for path in images]
    return samples


def _kinds(folder: Path) -> list[Path]:
    """Return the folders of `train` or `test`; images that lie beside them are an error."""
    loose = [path.name for path in _image_files(folder)]
    if loose:
        raise DatasetError(
            f"{folder} holds {len(loose)} images outside any folder ({loose[0]}, ...): expected "
            f"{folder / GOOD}, or {folder}/<defect>"
        )
    return _folders(folder)


def _images(folder: Path) -> list[Path]:
    images = _image_files(folder)
    if not images:
        raise DatasetError(
            f"no images in {folder}: found {_listing(folder)}, "
            f"expected {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return images


def _masks(folder: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """Return each image's mask; that none of a folder of masks fits is an error."""
    if not folder.is_dir():
        return {}
    files = {path.stem: path for path in _image_files(folder)}
    found = {
        image: files[stem]
        for image in images
        for stem in (image.stem, f"{image.stem}_mask")
        if stem in files
    }
    if files and not found:
        raise DatasetError(
            f"none of the {len(files)} masks in {folder} belongs to an image: expected "
            f"{images[0].stem}_mask.png or {images[0].stem}.png, ..., found {_listing(folder)}"
        )
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    seen = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in seen if p.suffix.lower() in IMAGE_SUFFIXES)


def _listing(folder: Path, limit: int = 8) -> str:
    names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "nothing"


def _upright_size(path: Path) -> tuple[int, int]:
    """Return (width, height) as the image is meant to be seen, from its header."""
    with Image.open(path) as image:
        width, height = image.size
        sideways = image.getexif().get(ExifTags.Base.Orientation) in _EXIF_SIDEWAYS
    return (height, width) if sideways else (width, height)
