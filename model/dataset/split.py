"""Hold out good images from training, for calibration."""

import random
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from model.dataset.sample import Sample
from model.errors import DatasetError
from model.inspection import Category


def split_good(
    samples: Sequence[Sample],
    held_out_fraction: float,
    seed: int,
    together: Sequence[AbstractSet[Sample]] = (),
) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of each category's good images, at least one and never all of them.

    The choice depends only on the seed and the category's file names, not on the folder, the order
    of samples or other categories. Both parts keep the order of `samples`. Images of a set of
    `together` (`model.dataset.duplicates.alike`) are all held out or all not.
    Raises `DatasetError` for a defective sample, a category with fewer than two images, or one
    whose images are all in the same set.
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
        check_number(category, group)
        count = min(max(round(held_out_fraction * len(group)), 1), len(group) - 1)
        ordered = sorted(group, key=lambda sample: (sample.path.name, sample.path))
        drawn = set(random.Random(f"{seed}/{category}").sample(ordered, count))
        held_out |= _undivided(drawn, ordered, together, f"{seed}/{category}/undivided")
    return [s for s in samples if s not in held_out], [s for s in samples if s in held_out]


def check_number(category: Category, good: Sequence[Sample]) -> None:
    """Raise `DatasetError` for a single good image, of which none can be held out."""
    if len(good) < 2:
        raise DatasetError(
            f"{category!r} has a single good image: need at least 2, one to train on and "
            "one to calibrate with"
        )


def units(
    ordered: Sequence[Sample], together: Sequence[AbstractSet[Sample]]
) -> list[frozenset[Sample]]:
    """Return the sets that no split divides, of one image or several, by their first image."""
    group_of = {sample: group for group in together for sample in group}
    present = frozenset(ordered)
    parts = (frozenset(group_of.get(s, {s})) & present for s in ordered)
    return list(dict.fromkeys(parts))


def _undivided(
    drawn: set[Sample],
    ordered: Sequence[Sample],
    together: Sequence[AbstractSet[Sample]],
    seed: str,
) -> set[Sample]:
    """Return `drawn` without images whose look-alikes are not drawn; others take their places."""
    indivisible = units(ordered, together)
    kept = {sample for unit in indivisible if unit <= drawn for sample in unit}
    if kept == drawn:
        return drawn
    if len(indivisible) == 1:
        raise DatasetError(
            f"all {len(ordered)} good images of {ordered[0].category!r} look the same, so none "
            f"can be held out ({ordered[0].path}): expected pictures of different parts"
        )
    free = [unit for unit in indivisible if not unit & kept]
    random.Random(seed).shuffle(free)
    for unit in sorted(free, key=len):  # a stable sort: small sets first, in the drawn order
        if not kept or len(kept) + len(unit) <= len(drawn):
            kept |= unit
    return kept
