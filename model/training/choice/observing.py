"""Collects the facts for choosing a recipe from images; reads a few of each category."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from model.dataset import Sample, inspection_batches, upright_size
from model.dataset.split import units
from model.images.framing import LETTERBOX, STRETCH
from model.images.preprocess import Preprocessing
from model.inspection import Category, ImageSize
from model.network import Encoder
from model.network.encoder import load_encoder_weights
from model.network.normalise import normalise
from model.training.choice.alignment import LEAST_IMAGES, Alignment, measure
from model.training.choice.choosing import base_values, fit_shape
from model.training.choice.rules import Circumstances
from model.training.data import GoodImages
from model.training.recipe.recipe import Recipe, Values, merge

MOST_IMAGES = 32
"""Images of a category that are looked at, spread over all of them."""
_BATCH = 8


def observe(
    images: GoodImages, given: Values, *, device: str, is_timed: bool = False
) -> Circumstances:
    """Return the facts about these images, for a recipe that keeps the `given` values.

    `is_timed`: the training has a time limit. Raises `ImageError`, `WeightsError`, `ConfigError`.
    """
    by_category = _spread(images.train)
    sizes = _sizes(sample for group in by_category.values() for sample in group)
    sized = merge(fit_shape(base_values(device), given, sizes), given)
    return Circumstances(
        good={c: _count(images, c) for c in by_category},
        different={c: _count_different(images, c) for c in by_category},
        sizes=sizes,
        alignments=measure_alignments(images, Recipe.from_values(sized)),
        has_reserved=bool(images.reserved),
        device=device,
        is_timed=is_timed,
    )


def measure_alignments(images: GoodImages, recipe: Recipe) -> dict[Category, Alignment]:
    """Return the alignment of each category that has enough different images."""
    encoder = Encoder(recipe.network.encoder)
    load_encoder_weights(encoder, recipe.encoder_weights)
    resize = LETTERBOX if recipe.images.resize == LETTERBOX else STRETCH
    preprocessing = Preprocessing(
        image_size=recipe.network.image_size,
        mean=encoder.mean,
        std=encoder.std,
        resize=resize,
        grey_bits=recipe.images.grey_bits,
    )
    return {
        category: _measure(encoder, preprocessing, samples)
        for category, samples in _spread(images.train).items()
        if _count_different(images, category) >= LEAST_IMAGES
    }


@torch.inference_mode()
def _measure(
    encoder: Encoder, preprocessing: Preprocessing, samples: Sequence[Sample]
) -> Alignment:
    upright, hflip, vflip = [], [], []
    for pixels in _pixels(samples, preprocessing):
        upright.append(encoder.in_parts(normalise(pixels, preprocessing))[-1])
        hflip.append(encoder.in_parts(normalise(pixels.flip(-1), preprocessing))[-1])
        vflip.append(encoder.in_parts(normalise(pixels.flip(-2), preprocessing))[-1])
    mirrored = {"hflip": torch.cat(hflip), "vflip": torch.cat(vflip)}
    return measure(torch.cat(upright), mirrored)


def _pixels(samples: Sequence[Sample], preprocessing: Preprocessing) -> Iterator[torch.Tensor]:
    for batch in inspection_batches(samples, preprocessing, _BATCH):
        images: UInt8[np.ndarray, "B 3 H W"] = np.ascontiguousarray(batch.images)
        yield torch.from_numpy(images)


def _spread(samples: Sequence[Sample]) -> dict[Category, list[Sample]]:
    """Return at most `MOST_IMAGES` of each category, evenly spread over its names."""
    chosen = {}
    for category in sorted({sample.category for sample in samples}):
        group = sorted((s for s in samples if s.category == category), key=lambda s: s.path)
        count = min(len(group), MOST_IMAGES)
        chosen[category] = [group[i * len(group) // count] for i in range(count)]
    return chosen


def _count(images: GoodImages, category: Category) -> int:
    return sum(sample.category == category for sample in images.train)


def _count_different(images: GoodImages, category: Category) -> int:
    """Count the images that look different."""
    of_category = [sample for sample in images.train if sample.category == category]
    return len(units(of_category, images.together))


def _sizes(samples: Iterable[Sample]) -> tuple[ImageSize, ...]:
    """Return the different sizes of images; raises `ImageError` for an unreadable one."""
    pairs = sorted({upright_size(sample.path) for sample in samples})
    return tuple(ImageSize(height, width) for width, height in pairs)
