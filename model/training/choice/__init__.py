"""Chooses a recipe for the images: what `mambaad train` does without `--recipe`.

    facts = observe(images, given, device="cpu")
    choice = choose(facts, given)
    choice.recipe, choice.reasons

alignment   how alike the parts lie, from the encoder's features
shapes      the network's input for wide and tall images
rules       the rules and their constants
choosing    applies the rules, keeps the given values, warns
observing   the facts that the rules need, from images
"""

from model.training.choice.choosing import RecipeChoice, choose, keep
from model.training.choice.observing import observe

__all__ = ["RecipeChoice", "choose", "keep", "observe"]
