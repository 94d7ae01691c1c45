"""`mambaad train`."""

from typing import Annotated

import typer

from model.cli.train.options import RunOptions, SourceOptions
from model.cli.train.recipe import RecipeOptions
from model.option_groups import grouped


@grouped
def train(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="The checkpoint's name.")],
    recipe: RecipeOptions,
    source: SourceOptions,
    run: RunOptions,
) -> None:
    """Train a network on good images, calibrate it on held-out ones and save a checkpoint.

    Without --recipe the defaults are the paper's, except for the encoder (its
    weights are in an installed package) and the epochs. Ctrl-C saves the run and
    a checkpoint; --resume continues exactly from there.

    For example:

      mambaad train data/mvtec --name all-parts --recipe paper

      mambaad train data/mvtec --name bottle --category bottle --recipe fast

      mambaad train data/mvtec --name bottle --category bottle --recipe fast --resume

      torchrun --nproc-per-node 4 --no-python mambaad train data/mvtec --name parts --device cuda
    """
    from model.network.weights_source import check_source

    resolved = recipe.read(ctx)
    if recipe.print_recipe:
        print(resolved.to_yaml(), end="")
        return
    check_source(resolved.network.encoder, resolved.encoder_weights)
    images = source.read(resolved.training)
    # Only now torch, which takes seconds to import: nobody waits for it to learn of a mistake.
    from model.cli.train.run import INTERRUPTED, TrainRequest, follow
    from model.network.encoder import check_encoder_weights

    check_encoder_weights(resolved.network.encoder, resolved.encoder_weights)
    request = TrainRequest(name=name, recipe=resolved, source=source, run=run)
    checkpoint = follow(request, images)
    if checkpoint and checkpoint.manifest.training["ended"] == "interrupted":
        raise typer.Exit(INTERRUPTED)
