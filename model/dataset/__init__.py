"""Read, split and load data sets from disk.

    dataset = read_dataset(Path("data/mvtec"), ["bottle"])
    dataset.train, dataset.held_out, dataset.test

`read_dataset` detects the layout; each has a module in `readers`: `mvtec` (and BTAD, MPDD),
`mvtec_3d`, `mvtec_loco`, `visa`, `real_iad`, `ader`, `plain` (and any other tree of folders),
`lists` (CSV, JSON lines), `lookout`.
"""

from typing import TYPE_CHECKING

from model.dataset.batches import InspectionBatch, inspection_batches
from model.dataset.cache import PixelCache
from model.dataset.labelled import defective_parts, good_parts
from model.dataset.layouts import LAYOUTS, missing_files, read_dataset, recognised
from model.dataset.masks import marked_pixels, read_mask, resize_mask, upright_size
from model.dataset.readers.mvtec import read_mvtec
from model.dataset.sample import GOOD, Dataset, Sample
from model.dataset.split import split_good
from model.images.files import IMAGE_SUFFIXES, Passed
from model.imports.lazy import lazily
from model.words import Words

if TYPE_CHECKING:
    from model.dataset.images import Augment, ImageDataset
    from model.dataset.loader import Loader

__all__ = [
    "GOOD",
    "IMAGE_SUFFIXES",
    "LAYOUTS",
    "Augment",
    "Dataset",
    "ImageDataset",
    "InspectionBatch",
    "Loader",
    "Passed",
    "PixelCache",
    "Sample",
    "Words",
    "defective_parts",
    "good_parts",
    "inspection_batches",
    "marked_pixels",
    "missing_files",
    "read_dataset",
    "read_mask",
    "read_mvtec",
    "recognised",
    "resize_mask",
    "split_good",
    "upright_size",
]

__getattr__ = lazily(
    __name__,
    {
        "Augment": "model.dataset.images",
        "ImageDataset": "model.dataset.images",
        "Loader": "model.dataset.loader",
    },
)
