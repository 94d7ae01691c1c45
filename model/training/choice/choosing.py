"""Chooses a recipe by the rules, keeps what was given, and warns of what cannot work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.images.framing import TILE
from model.inspection import Category, ImageSize
from model.training.choice.alignment import Alignment
from model.training.choice.rules import (
    NOT_ALIGNED,
    REDUCED,
    RULES,
    Circumstances,
    base_name,
    choose_shape,
)
from model.training.recipe.recipe import Recipe, Values, merge, read_recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChoice:
    """A recipe, and why: a sentence for each rule that changed something; warnings and hints."""

    recipe: Recipe
    base: str | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    alignments: Mapping[Category, Alignment]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the recipe as JSON values."""
        return {
            "base": self.base,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "alignment": {c: alignment.to_dict() for c, alignment in self.alignments.items()},
        }


def base_values(device: str) -> Values:
    """Return the values of the recipe that is changed."""
    return read_recipe(base_name(device))


def choose(facts: Circumstances, given: Values) -> RecipeChoice:
    """Choose a recipe that has the `given` values; raises `ConfigError` if they are invalid."""
    name = base_name(facts.device)
    device = "a CUDA GPU" if facts.device.startswith("cuda") else "a CPU"
    reasons = [f"for {device}, the recipe begins as {name}"]
    described = {"description": f"Chosen for the images, from the recipe {name}."}
    values = merge(base_values(facts.device), described)
    for rule in RULES:
        # Later rules see what earlier ones changed. The values given always win.
        current = Recipe.from_values(merge(_compatible(values, given), given))
        ruled = rule(facts, current, given)
        if ruled is not None:
            values = merge(values, ruled[0])
            reasons.append(ruled[1])
    recipe = Recipe.from_values(merge(_compatible(values, given), given))
    return RecipeChoice(
        recipe=recipe,
        base=name,
        reasons=tuple(reasons),
        warnings=(*_unsuited(facts.alignments, recipe), *_hints(facts, recipe)),
        alignments=facts.alignments,
    )


def keep(
    recipe: Recipe, alignments: Mapping[Category, Alignment], reasons: Sequence[str] = ()
) -> RecipeChoice:
    """Keep a recipe that was named, and warn of what cannot work; `reasons` tell of its changes."""
    warnings = tuple(_unsuited(alignments, recipe))
    return RecipeChoice(
        recipe=recipe, reasons=tuple(reasons), warnings=warnings, alignments=alignments
    )


def fit_shape(base: Values, given: Values, sizes: Sequence[ImageSize]) -> Values:
    """Return the base with the input size for images of these sizes."""
    recipe = Recipe.from_values(merge(_compatible(base, given), given))
    facts = Circumstances(good={}, different={}, sizes=sizes, alignments={})
    shaped = choose_shape(facts, recipe, given)
    changed = _compatible(base, given)
    return changed if shaped is None else merge(changed, shaped[0])


def _compatible(values: Values, given: Values) -> Values:
    """Return the values without a distance that the given values exclude."""
    scoring = given.get("scoring", {})
    is_tiled = given.get("images", {}).get("resize") == TILE
    if "distance" not in scoring and (scoring.get("standardise") or is_tiled):
        return merge(values, NOT_ALIGNED)
    return values


def _unsuited(alignments: Mapping[Category, Alignment], recipe: Recipe) -> list[str]:
    """Warn where each place is compared with itself although parts do not lie the same way."""
    if not recipe.scoring.needs_alignment:
        return []
    setting = "standardise" if recipe.scoring.standardise else "distance mahalanobis"
    return [
        f"parts of {category} do not lie the same way ({alignment.share:.2f}), but {setting} "
        "compares each place with the same place of good parts: set distance=cosine, or train "
        "without --recipe"
        for category, alignment in alignments.items()
        if not alignment.is_aligned
    ]


def _hints(facts: Circumstances, recipe: Recipe) -> list[str]:
    """Mention tiles where small defects would be lost."""
    height, width = recipe.network.image_size
    reduced = max(max(size.height / height, size.width / width) for size in facts.sizes)
    if recipe.images.resize == TILE or reduced <= REDUCED:
        return []
    return [
        f"images are reduced {reduced:.0f} times, so defects of a few pixels are lost: --tile "
        "inspects them in full resolution"
    ]
