"""Read the masks that mark defects."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from model.dataset.readers.folders import image_files
from model.dataset.sample import Sample
from model.errors import DatasetError
from model.images.decoding import open_image, opened_file

_LOSSY_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}


def read_mask(sample: Sample, image_size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Return where the defect is, resized to `image_size` (height, width) by nearest neighbour.

    A value above 0 marks the defect (above 127 in JPEG and WebP, which blur edges), or any colour
    except the sample's `mask_background`. Masks in a folder are combined. Good parts have an empty
    mask. Raises `DatasetError` for a defect without mask or a mask of another size.
    """
    if sample.is_good:
        return np.zeros(image_size, dtype=bool)
    return resize_mask(marked_pixels(sample), image_size)


def resize_mask(
    marked: Bool[np.ndarray, "h w"], image_size: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """Return marked pixels at `image_size` (height, width), by nearest neighbour."""
    height, width = image_size
    return np.asarray(Image.fromarray(marked).resize((width, height), Image.Resampling.NEAREST))


def marked_pixels(sample: Sample) -> Bool[np.ndarray, "H W"]:
    """Return where the defect is, at the image's own size; see `read_mask`."""
    if sample.mask is None:
        raise DatasetError(f"{sample.path} is defective and has no mask")
    files = image_files(sample.mask) if sample.mask.is_dir() else [sample.mask]
    if not files:
        raise DatasetError(f"the folder {sample.mask} has no masks of {sample.path.name}")
    expected = upright_size(sample.path)
    marked = np.zeros(expected[::-1], dtype=bool)
    for file in files:
        mask = open_image(file)
        if mask.size != expected:
            raise DatasetError(
                f"mask {file} is {mask.width} x {mask.height} px, expected {expected[0]} x "
                f"{expected[1]} like its image {sample.path.name}"
            )
        marked |= _marked(mask, file, sample.mask_background)
    return marked


def upright_size(path: Path) -> tuple[int, int]:
    """Return the upright image's (width, height) from its header."""
    with opened_file(path) as opened:
        return opened.upright_size


def _marked(
    mask: Image.Image, file: Path, background: tuple[int, int, int] | None
) -> Bool[np.ndarray, "H W"]:
    if background is not None:
        different = np.asarray(mask.convert("RGB")) != np.array(background, np.uint8)
        return np.asarray(different.any(axis=-1))
    plain = mask.convert("RGB") if mask.mode in {"P", "LA", "RGBA"} else mask
    values = np.asarray(plain).reshape(mask.height, mask.width, -1).max(axis=-1)
    return np.asarray(values > (127 if file.suffix.lower() in _LOSSY_SUFFIXES else 0))
