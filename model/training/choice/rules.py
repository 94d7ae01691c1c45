"""The rules that choose a recipe, and their constants.

Each rule returns changes of the recipe with the reason, or None. A value that was given as an
option or with --set is never changed; a rule whose values were all given gives no reason.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from model.images.framing import TILE
from model.inspection import Category, ImageSize
from model.training.choice.alignment import LEAST_IMAGES, Alignment
from model.training.choice.shapes import have_one_shape, input_size, is_long, ratio
from model.training.recipe.recipe import Recipe, Values, merge, nest
from model.training.recipe.tiles import MEMORY_WEIGHT

# What quality experiments may change.

BASES = {"cpu": "fast", "cuda": "quality"}
"""The recipe that is changed, by the kind of device."""
ALIGNED: Values = {"scoring": {"distance": "mahalanobis"}}
"""The scoring of parts that lie the same way in every image of every category."""
NOT_ALIGNED: Values = {"scoring": {"distance": "cosine"}}
"""The scoring of all other parts."""
MEMORY = 1000
"""Remembered patches of each category (their map's weight: `MEMORY_WEIGHT`). 1,000, 2,000 and 5,000
patches differed by at most 1.4 points of image AUROC on four development sets of
`benchmarks/quality`, and by 3 on the hardest, where fewer were better."""
LEAST_STEPS = {"fast": 120, "quality": 400}
"""The fewest steps of training, by the base; with few images, more epochs.
With 16 bricks, image AUROC of the decoder alone rose from 64.0 at 12 steps to 88.7 at 120; with
40 wide ones from 90.0 at 30 to 91.8 at 150 (`benchmarks/quality`, seed 0)."""
FOLDS = 3
FOLDS_UNDER = 25
"""With fewer different good images of a category: folds instead of held-out images, which would be
fewer than five."""
NOISE = 0.5
NOISE_UNDER = 25
"""With fewer images to train on in all, `feature_noise`: without it, the decoder learns them by
heart, and its maps of other images are up to twice as wide as the scale beside the memory says.
FIGURES"""
REDUCED = 4.0
"""Tiles are mentioned for images that are reduced by more than this factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """The facts that a choice depends on.

    `good` are the good images of each category and `different` those that look different; without
    the reserved ones. `sizes` are the different sizes of images. `alignments` lack the categories
    with too few images. `is_timed`: the training has a time limit.
    """

    good: Mapping[Category, int]
    different: Mapping[Category, int]
    sizes: Sequence[ImageSize]
    alignments: Mapping[Category, Alignment]
    has_reserved: bool = False
    device: str = "cpu"
    is_timed: bool = False

    @property
    def are_known(self) -> bool:
        """Whether the alignment of every category is known."""
        return set(self.good) <= set(self.alignments)

    @property
    def least_aligned(self) -> tuple[Category, Alignment]:
        """The category whose parts lie least alike, which decides."""
        ranked = sorted(self.alignments.items(), key=lambda c: (c[1].is_aligned, c[1].share))
        return ranked[0]

    @property
    def are_aligned(self) -> bool:
        """Whether the parts of every category lie the same way."""
        return self.are_known and self.least_aligned[1].is_aligned


Ruled = tuple[Values, str] | None
Rule = Callable[[Circumstances, Recipe, Values], Ruled]


def base_name(device: str) -> str:
    """Return the name of the recipe that is changed for a device such as "cuda:1"."""
    return BASES["cuda" if device.startswith("cuda") else "cpu"]


def is_given(given: Values, path: str) -> bool:
    """Whether a value such as "training.epochs" is among those given."""
    for key in path.split("."):
        if key not in given:
            return False
        given = given[key]
    return True


def choose_shape(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Give wide and tall images an input of their shape."""
    network = recipe.network
    needs_square = recipe.training.augmentation.rot90 or network.scan == "zorder"
    is_fixed = is_given(given, "network.image_size") or recipe.images.resize == TILE
    if is_fixed or needs_square or not (have_one_shape(facts.sizes) and is_long(facts.sizes)):
        return None
    ratios = sorted(ratio(size) for size in facts.sizes)
    middle = ratios[len(ratios) // 2]
    before = network.image_size
    size = input_size(middle, before[0] * before[1])
    if size == before:
        return None
    long_side = "wide" if middle > 1 else "tall"
    reason = f"images are {long_side}: the input is {size[0]} x {size[1]} pixels (height x width)"
    return nest("network.image_size", list(size)), reason


def choose_scoring(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Compare places only where the parts of all categories lie the same way."""
    if is_given(given, "scoring.distance"):
        return None
    if facts.are_aligned and not recipe.scoring.standardise and recipe.images.resize != TILE:
        category, alignment = facts.least_aligned
        return ALIGNED, (
            f"parts{_named(category, facts)} lie the same way ({alignment.share:.2f}): each place "
            "is compared with the same place of good parts"
        )
    return NOT_ALIGNED, f"{_why_not(facts, recipe)}: places are not compared"


def choose_memory(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Remember patches of good parts, with more weight where places are not compared."""
    changes: Values = {}
    if not is_given(given, "scoring.memory"):
        changes = nest("scoring.memory", MEMORY)
    elif not recipe.scoring.memory:
        return None
    weight = MEMORY_WEIGHT[recipe.scoring.needs_alignment]
    if not is_given(given, "scoring.memory_weight"):
        changes = merge(changes, nest("scoring.memory_weight", weight))
    if not changes:
        return None
    remembered = recipe.scoring.memory if is_given(given, "scoring.memory") else MEMORY
    if is_given(given, "scoring.memory_weight"):
        weight = recipe.scoring.memory_weight
    return changes, (
        f"{remembered:,} patches of good parts are remembered: the distance from them weighs "
        f"{weight:g} times the decoder's map"
    )


def _why_not(facts: Circumstances, recipe: Recipe) -> str:
    """Return why places are not compared."""
    if recipe.images.resize == TILE:
        return "tiles have no place of their own on the part"
    if recipe.scoring.standardise:
        return "standardise is set, which has a baseline of its own"
    if not facts.are_known:
        fewest = min(facts.different, key=lambda category: facts.different[category])
        return (
            f"{fewest} has too few different images to tell whether parts lie the same way "
            f"({facts.different[fewest]}, expected {LEAST_IMAGES})"
        )
    category, alignment = facts.least_aligned
    of = _named(category, facts)
    if alignment.is_aligned_but_mirrored:
        return (
            f"parts{of} lie the same way except that some are mirrored ({alignment.share:.2f}, "
            f"{alignment.fitted:.2f} when mirrored to fit)"
        )
    return f"parts{of} do not lie the same way ({alignment.share:.2f})"


def _named(category: Category, facts: Circumstances) -> str:
    return f" of {category}" if len(facts.good) > 1 else ""


_WAYS = {"hflip": "left-right", "vflip": "top-bottom"}


def choose_mirrors(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Mirror images at random only where mirrored images look like parts."""
    paths = {flip: f"training.augmentation.{flip}" for flip in _WAYS}
    free = [flip for flip in _WAYS if not is_given(given, paths[flip])]
    looks = {
        flip: facts.are_known and all(a.mirrors(flip) for a in facts.alignments.values())
        for flip in free
    }
    changes: Values = {}
    for flip, is_part in looks.items():
        changes = merge(changes, nest(paths[flip], is_part))
    mirrored = [_WAYS[flip] for flip, is_part in looks.items() if is_part]
    if mirrored:
        return changes, (
            f"mirrored images ({' and '.join(mirrored)}) look like parts: images are mirrored at "
            "random"
        )
    augmentation = recipe.training.augmentation
    if any(getattr(augmentation, flip) for flip in free):
        why = "do not look like parts" if facts.are_known else "may not look like parts"
        return changes, f"mirrored images {why}: images are not mirrored"
    return None


def choose_epochs(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Give few images enough steps."""
    if is_given(given, "training.epochs"):
        return None
    config = recipe.training
    trained = _trained_in_all(facts, recipe)
    steps = max(1, trained // config.batch_size)
    epochs = math.ceil(LEAST_STEPS[base_name(facts.device)] / steps)
    if epochs <= config.epochs:
        return None
    return nest("training.epochs", epochs), (
        f"{trained} images to train on are few: {epochs} epochs instead of {config.epochs}, which "
        f"are {epochs * steps} steps"
    )


def choose_noise(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Disturb what the decoder gets where it sees the same few images again and again."""
    path, disturbance = "training.disturbance.feature_noise", recipe.training.disturbance
    is_disturbed = disturbance.feature_noise > 0 or disturbance.fusion_dropout > 0
    trained = _trained_in_all(facts, recipe)
    if is_given(given, path) or is_disturbed or trained >= NOISE_UNDER:
        return None
    return nest(path, NOISE), (
        f"{trained} images to train on would be learnt by heart: their features get noise "
        f"({NOISE:g}) in training"
    )


def _trained_in_all(facts: Circumstances, recipe: Recipe) -> int:
    """Return about how many images of all categories are trained on."""
    return sum(_trained(facts, recipe, count) for count in facts.good.values())


def _trained(facts: Circumstances, recipe: Recipe, count: int) -> int:
    """Return about how many of a category's images are trained on."""
    if facts.has_reserved or recipe.training.folds or count < 2:
        return count
    return count - min(max(round(recipe.training.held_out_fraction * count), 1), count - 1)


def choose_folds(facts: Circumstances, recipe: Recipe, given: Values) -> Ruled:
    """Take folds where held-out images would be too few for thresholds."""
    config = recipe.training
    fewest = min(facts.different.values())
    wants_held_out = any(
        is_given(given, f"training.{key}") for key in ("folds", "held_out_fraction")
    )
    if wants_held_out or facts.has_reserved or facts.is_timed or not 2 <= fewest < FOLDS_UNDER:
        return None
    if config.keeps_best and not config.watch_fraction:
        return None
    folds = min(FOLDS, fewest)
    return nest("training.folds", folds), (
        f"{fewest} good images are too few to hold some out: thresholds come from {folds} more "
        "networks, each without a part of the images; alpha is then an estimate"
    )


RULES: tuple[Rule, ...] = (
    choose_shape,
    choose_scoring,
    choose_memory,
    choose_mirrors,
    choose_folds,
    choose_epochs,
    choose_noise,
)
"""In order: later rules see the changes of earlier ones."""
