"""Hold out good images from training, for calibration."""

import random
from collections import defaultdict
from collections.abc import Sequence

from model.dataset.sample import Sample
from model.errors import DatasetError
from model.inspection import Category


def split_good(
    samples: Sequence[Sample], held_out_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of each category's good images, at least one and never all of them.

    The choice depends only on the seed and the category's file names, not on the folder, the order
    of samples or other categories. Both parts keep the order of `samples`.
    Raises `DatasetError` for a defective sample or a category with fewer than two images.
    """
    if not 0 < held_out_fraction < 1:
        raise DatasetError(f"held_out_fraction must be between 0 and 1, got {held_out_fraction}")
    groups: dict[Category, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.is_good:
            raise DatasetError(f"only good images can be held out, got the defective {sample.path}")
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
