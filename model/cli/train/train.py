"""`mambaad train`."""

from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.train.options import RunOptions, SourceOptions
from model.cli.train.recipe import RecipeOptions
from model.option_groups import grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.training.choice import RecipeChoice
    from model.training.data import GoodImages
    from model.training.recipe.recipe import Recipe, Values


@grouped
def train(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="The checkpoint's name.")],
    recipe: RecipeOptions,
    source: SourceOptions,
    run: RunOptions,
) -> None:
    """Train a network on good images, calibrate it on held-out ones and save a checkpoint.

    Without --recipe the images choose one: by their number, shape, how alike the
    parts lie, and the device. The reasons are printed, and options override them.
    Ctrl-C saves the run and a checkpoint; --resume continues exactly from there.

    For example:

      mambaad train data/mvtec --name bottle --category bottle

      mambaad train data/mvtec --name bottle --category bottle --resume

      mambaad train data/mvtec --name all-parts --recipe paper --device cuda

      torchrun --nproc-per-node 4 --no-python mambaad train data/mvtec --name parts --device cuda
    """
    from model.network.weights_source import check_source

    resolved, reasons = (None, ()) if recipe.is_automatic else recipe.read(ctx)
    if resolved is not None and recipe.print_recipe:
        print(as_comments(reasons) + resolved.to_yaml(), end="")
        return
    if resolved is None:
        recipe.check(ctx)
    else:
        check_source(resolved.network.encoder, resolved.encoder_weights)
    run.check(name)
    images = source.find()
    # Only now torch, which takes seconds to import: nobody waits for it to learn of a mistake.
    from model.cli.train.run import INTERRUPTED, TrainRequest, follow
    from model.network.encoder import check_encoder_weights

    if resolved is not None:
        check_encoder_weights(resolved.network.encoder, resolved.encoder_weights)
    choice = choose_recipe(images, run, resolved, recipe.given(ctx), reasons)
    if recipe.print_recipe:
        print(commented(choice), end="")
        return
    config = choice.recipe.training
    parts = images.divide(config.held_out_fraction, config.seed, config.folds)
    request = TrainRequest(name=name, recipe=choice.recipe, choice=choice, source=source, run=run)
    checkpoint = follow(request, parts)
    if checkpoint and checkpoint.manifest.training["ended"] == "interrupted":
        raise typer.Exit(INTERRUPTED)


def choose_recipe(
    images: "GoodImages",
    run: RunOptions,
    named: "Recipe | None",
    given: "Values",
    reasons: "Sequence[str]" = (),
) -> "RecipeChoice":
    """Choose a recipe for the images; a named one is kept, with warnings of what cannot work.

    `reasons` say why a named recipe was changed for the options.
    """
    from model.training.choice import choose, keep, observe
    from model.training.choice.observing import measure_alignments

    if named is not None:
        compares_places = named.scoring.needs_alignment and named.images.resize != "tile"
        found = measure_alignments(images, named) if compares_places else {}
        return keep(named, found, reasons)
    facts = observe(images, given, device=run.device, is_timed=run.max_minutes is not None)
    return choose(facts, given)


def commented(choice: "RecipeChoice") -> str:
    """Return the chosen recipe as YAML, with the reasons as comments."""
    warnings = [f"warning: {text}" for text in choice.warnings]
    return as_comments([*choice.reasons, *warnings]) + choice.recipe.to_yaml()


def as_comments(texts: "Sequence[str]") -> str:
    """Return texts as comments of YAML, a line each."""
    return "".join(f"# {text}\n" for text in texts)
